"""GenICam cameras over real packets: settings, formats, triggers, losses, and the ways in which a camera goes."""

from __future__ import annotations

import os
import threading
import time
from typing import Any, Callable, Dict, Iterator, List, Optional

import numpy as np
import psutil
import pytest
from support import gige

from edge_agent.cameras.base import Captured, CountsTransport
from edge_agent.cameras.genicam import Found, GenicamCamera, GenicamSettings, discover, discovery
from edge_agent.cameras.genicam.aravis import Aravis, aravis
from edge_agent.cameras.genicam.camera import _step
from edge_agent.clock import Clock, SystemClock
from edge_agent.config import convert
from edge_agent.errors import CameraError, CameraNotConnectedError, ImageError
from edge_agent.frame import Pixels
from edge_agent.gige_simulator import SimulatedCamera

WIDTH, HEIGHT = 128, 96

# Aravis asks again for a quarter of an image's packets at most; with this, one image in 100,000 loses more.
_LOSS = 0.02

# Without trials of packet sizes a camera is open at once.
_NETWORK = {"packet_size": 1400}


@pytest.fixture(autouse=True)
def _aravis() -> None:
    gige.skip_without_aravis()


def flat(*colour: int) -> Pixels:
    return np.full((HEIGHT, WIDTH, 3), colour, np.uint8)


GREYS = [flat(value, value, value) for value in range(20, 220, 10)]


@pytest.fixture
def simulator() -> Iterator[SimulatedCamera]:
    camera = gige.simulated(GREYS, width=WIDTH, height=HEIGHT)
    yield camera
    camera.stop()


@pytest.fixture
def opened(simulator: SimulatedCamera) -> Iterator[Callable[..., GenicamCamera]]:
    """Opens a camera on the simulator with these settings; closed at the end."""
    cameras: List[GenicamCamera] = []

    def open_with(**settings: Any) -> GenicamCamera:
        camera = make(simulator, **settings)
        cameras.append(camera)
        camera.open()
        return camera

    yield open_with
    for camera in cameras:
        camera.close()


def make(simulator: SimulatedCamera, clock: Optional[Clock] = None, **settings: Any) -> GenicamCamera:
    values: Dict[str, Any] = {"type": "genicam", "device": simulator.settings.address, "network": _NETWORK, **settings}
    return GenicamCamera(convert(values, GenicamSettings, "test"), clock or SystemClock())


def reserve(height: int, width: int) -> Pixels:
    return np.zeros((height, width, 3), np.uint8)


def capture(camera: GenicamCamera, seconds: float = 20) -> Captured:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        captured = camera.capture(reserve, 0.2)
        if captured is not None:
            return captured
    pytest.fail("no image came")


def value(captured: Captured) -> int:
    """The one grey of the image."""
    values = np.unique(captured.pixels)
    assert len(values) == 1
    return int(values[0])


def gone(camera: GenicamCamera, seconds: float = 20) -> CameraNotConnectedError:
    """Captures until the camera counts as lost."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            camera.capture(reserve, 0.1)
        except CameraNotConnectedError as error:
            return error
        except ImageError:
            """One may be torn while the camera goes."""
    pytest.fail("the loss was not noticed")


# Every packing, and every pattern of a mosaic.
FORMATS = [
    "Mono8",
    "Mono10",
    "Mono10Packed",
    "Mono10p",
    "Mono12",
    "Mono12Packed",
    "Mono12p",
    "Mono16",
    "RGB8",
    "BGR8",
    "BayerGR8",
    "BayerRG8",
    "BayerGB8",
    "BayerBG8",
    "BayerGR12",
    "BayerRG12Packed",
    "BayerGB12p",
    "BayerBG10p",
]


def test_every_format_arrives_as_the_picture_it_was() -> None:
    simulator = gige.simulated([flat(200, 100, 50)], width=WIDTH, height=HEIGHT)
    try:
        for name in FORMATS:
            camera = make(simulator, pixel_format=name)
            camera.open()
            pixels = capture(camera).pixels
            camera.close()
            # The grey of a colour by BT.601: 0.299 * 200 + 0.587 * 100 + 0.114 * 50
            expected = flat(124, 124, 124) if name.startswith("Mono") else flat(200, 100, 50)
            np.testing.assert_array_equal(pixels, expected, err_msg=name)
    finally:
        simulator.stop()


def test_exposure_and_gain_make_the_image_brighter(opened: Callable[..., GenicamCamera]) -> None:
    camera = opened(exposure_us=20_000)
    assert value(capture(camera)) == 40
    camera.close()
    assert value(capture(opened(exposure_us=10_000, gain=12.0412))) == 80


def test_a_region_is_cut_out(simulator: SimulatedCamera) -> None:
    picture = np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    simulator.stop()
    other = gige.simulated([picture], width=WIDTH, height=HEIGHT)
    camera = make(other, pixel_format="RGB8", region={"x": 20, "y": 8, "width": 64, "height": 70})
    try:
        # Twice: a region that is already there is no obstacle to the next.
        for _ in range(2):
            camera.open()
            np.testing.assert_array_equal(capture(camera).pixels, picture[8:78, 20:84])
            camera.close()
    finally:
        other.stop()


def test_the_rate_and_other_features_reach_the_camera(opened: Callable[..., GenicamCamera]) -> None:
    camera = opened(frame_rate=50, features={"Gain": 6.0206, "DeviceUserID": "left camera", "TriggerDelay": "5"})
    assert camera._device is not None
    assert camera._device.frame_rate() == 50
    assert camera._device.number("Gain") == pytest.approx(6.0206)
    assert camera._device.text("DeviceUserID") == "left camera"
    assert camera._device.number("TriggerDelay") == 5


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"pixel_format": "YUV422_8"}, r"pixel_format: the camera has no YUV422_8. It has .*Mono8"),
        ({"exposure_us": 2e6}, r"exposure_us: 2e\+06 is outside of the camera's 10 to 1e\+06"),
        ({"gain": 25}, r"gain: 25 is outside of the camera's 0 to 24"),
        ({"frame_rate": 2000}, r"frame_rate: 2000 is outside"),
        ({"region": {"width": 640, "height": 64}}, r"region"),
        ({"region": {"width": 65, "height": 64}}, r"region"),
        ({"features": {"WhiteBalance": 1}}, r"features\.WhiteBalance: the camera has no such feature"),
        ({"network": {"packet_size": 1402}}, r"network\.packet_size: the camera made 1400 of it"),
        ({"trigger": {"mode": "line", "source": "Line9"}}, r"Line9"),
    ],
)
def test_what_the_camera_cannot_do_is_an_error_that_names_it(
    simulator: SimulatedCamera, settings: Dict[str, Any], words: str
) -> None:
    camera = make(simulator, **settings)
    with pytest.raises(CameraError, match=words) as caught:
        camera.open()
    assert simulator.settings.address in caught.value.subject
    camera.close()


def test_a_software_trigger_brings_one_image(opened: Callable[..., GenicamCamera], simulator: SimulatedCamera) -> None:
    camera = opened(trigger={"mode": "software"})
    assert [value(capture(camera)) for _ in range(5)] == [20, 30, 40, 50, 60]
    assert simulator.counters()["images"] == 5


class Interrupted(SystemClock):
    """Of a program that has to wait for the processor before it reads the time of day."""

    def wall_ns(self) -> int:
        time.sleep(0.2)
        return super().wall_ns()


class Stepped(SystemClock):
    """Of a machine whose time of day is put right."""

    def wall_ns(self) -> int:
        return super().wall_ns() + 1_000_000_000


@pytest.mark.parametrize("clock", [SystemClock(), Interrupted(), Stepped()], ids=lambda clock: type(clock).__name__)
def test_an_image_is_never_older_than_its_software_trigger(opened: Callable[..., GenicamCamera], clock: Clock) -> None:
    camera = opened(clock=clock, trigger={"mode": "software"})
    for _ in range(2):
        asked_ns = clock.monotonic_ns()
        assert capture(camera).captured_ns >= asked_ns


def test_an_image_that_was_asked_for_is_not_asked_for_again(
    opened: Callable[..., GenicamCamera], simulator: SimulatedCamera
) -> None:
    camera = opened(trigger={"mode": "software", "delay_us": 200_000})
    assert camera.capture(reserve, 0.01) is None
    assert camera.capture(reserve, 0.01) is None
    assert value(capture(camera)) == 20
    assert simulator.counters()["images"] == 1


def test_an_image_that_was_asked_for_and_does_not_come_is_a_failed_one(
    opened: Callable[..., GenicamCamera], simulator: SimulatedCamera
) -> None:
    camera = opened(trigger={"mode": "software", "timeout_s": 0.2})
    simulator.set_silent(True)
    with pytest.raises(ImageError, match=r"no image within 0\.2 s of its software trigger"):
        capture(camera)


def test_an_image_that_nobody_asked_for_is_not_the_next_part_s(
    opened: Callable[..., GenicamCamera], simulator: SimulatedCamera
) -> None:
    camera = opened(trigger={"mode": "software"})
    first = value(capture(camera))
    assert camera._device is not None
    camera._device.trigger()  # as Aravis does where an answer is lost
    time.sleep(0.5)
    assert simulator.counters()["images"] == 2
    third = value(capture(camera))
    assert third - first == 2 * 10  # each image is ten brighter
    assert camera.counters()["frames_unasked"] == 1
    assert camera.counters()["frames_incomplete"] == 0


@pytest.mark.parametrize(("activation", "edges"), [("RisingEdge", 1), ("FallingEdge", 1), ("AnyEdge", 2)])
def test_the_edges_of_a_line_are_triggers(
    opened: Callable[..., GenicamCamera], simulator: SimulatedCamera, activation: str, edges: int
) -> None:
    camera = opened(trigger={"mode": "line", "source": "Line1", "activation": activation})
    assert camera.capture(reserve, 0.1) is None
    for _ in range(2):
        simulator.set_line(True)
        simulator.set_line(False)
    assert [value(capture(camera)) for _ in range(2 * edges)] == [20, 30, 40, 50][: 2 * edges]
    assert camera.capture(reserve, 0.1) is None


def test_a_trigger_is_delayed(opened: Callable[..., GenicamCamera], simulator: SimulatedCamera) -> None:
    camera = opened(trigger={"mode": "line", "delay_us": 300_000})
    started = time.monotonic()
    simulator.set_line(True)
    capture(camera)
    assert time.monotonic() - started >= 0.3


@pytest.mark.parametrize("way", [{"packet_socket": True}, {"packet_socket": False}])
def test_lost_packets_are_asked_for_again_and_no_image_is_lost(
    opened: Callable[..., GenicamCamera], simulator: SimulatedCamera, way: Dict[str, bool]
) -> None:
    network = {"packet_size": 576, "frame_retention_ms": 5000, **way}
    camera = opened(frame_rate=20, network=network)
    simulator.set_loss(_LOSS)
    values = [value(capture(camera)) for _ in range(20)]
    simulator.set_loss(0)
    assert values == [value(Captured("", 0, 0, grey)) for grey in GREYS]
    counted = camera.counters()
    assert counted["frames_missed"] == counted["frames_incomplete"] == 0
    assert counted["packets_resent"] > 0
    assert counted["resend_requests"] >= counted["packets_resent"]
    assert simulator.counters()["packets_lost"] > 0


def test_without_resending_every_torn_image_is_counted_once(
    opened: Callable[..., GenicamCamera], simulator: SimulatedCamera
) -> None:
    camera = opened(frame_rate=20, network={"packet_size": 576, "resend": False, "frame_retention_ms": 100})
    simulator.set_loss(0.03)
    whole = torn = 0
    numbers = []
    while whole + torn < 20:
        try:
            captured = camera.capture(reserve, 0.2)
        except ImageError:
            torn += 1
        else:
            whole += captured is not None
            numbers += [int(captured.source.partition("#")[2])] if captured else []
    counted = camera.counters()
    assert torn == counted["frames_incomplete"] > 0
    assert counted["packets_resent"] == counted["resend_requests"] == 0
    assert counted["packets_missing"] > 0
    # Every image up to the last that was seen is in one place: whole, torn, or not a packet of it came.
    assert whole + torn + counted["frames_missed"] == camera._last_id
    assert numbers == sorted(set(numbers))


def test_images_that_nobody_takes_are_underruns(
    opened: Callable[..., GenicamCamera], simulator: SimulatedCamera
) -> None:
    camera = opened(frame_rate=100, buffers=2)
    deadline = time.monotonic() + 60
    while not (camera.counters()["underruns"] and camera.counters()["frames_missed"]):
        assert time.monotonic() < deadline
        reached = simulator.counters()["images"] + 10
        while simulator.counters()["images"] < reached:
            time.sleep(0.01)
        for _ in range(3):
            capture(camera)


def test_counters_go_on_over_openings_and_are_read_from_any_thread(
    opened: Callable[..., GenicamCamera], simulator: SimulatedCamera
) -> None:
    network = {"packet_size": 576, "frame_retention_ms": 5000}
    camera = opened(frame_rate=50, network=network)
    assert isinstance(camera, CountsTransport)
    readings: List[int] = []
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            readings.append(camera.counters().get("packets_resent", 0))

    watcher = threading.Thread(target=watch)
    watcher.start()
    simulator.set_loss(_LOSS)
    for _ in range(3):
        before = camera.counters().get("packets_resent", 0)
        while camera.counters()["packets_resent"] == before:
            capture(camera)
        reached = camera.counters()["packets_resent"]
        camera.close()
        camera.open()
        assert camera.counters()["packets_resent"] >= reached
    done.set()
    watcher.join()
    assert readings == sorted(readings)


def test_the_largest_packets_that_come_through_are_used() -> None:
    simulator = gige.simulated(GREYS, width=WIDTH, height=HEIGHT, mtu=5000)
    camera = make(simulator, network={})
    try:
        camera.open()
        value(capture(camera))
        assert camera._device is not None
        # A trial may come late on a busy machine; then a smaller size is found, never one that does not come through.
        assert 1400 <= camera._device.packet_size() <= 5000
    finally:
        camera.close()
        simulator.stop()


def test_a_camera_that_dropped_its_control_is_gone_and_comes_back(
    opened: Callable[..., GenicamCamera], simulator: SimulatedCamera
) -> None:
    camera = opened(trigger={"mode": "line"})
    simulator.drop_control()
    assert "is gone, or another program controls it" in str(gone(camera))
    camera.close()
    camera.open()
    simulator.set_line(True)
    assert value(capture(camera)) == 20


def test_a_camera_that_another_program_controls_is_not_connected(
    opened: Callable[..., GenicamCamera], simulator: SimulatedCamera
) -> None:
    opened()
    second = make(simulator)
    with pytest.raises(CameraNotConnectedError, match="another program controls it"):
        second.open()
    second.close()


def test_closing_does_not_wait_for_a_camera_that_is_gone(
    opened: Callable[..., GenicamCamera], simulator: SimulatedCamera
) -> None:
    camera = opened()
    capture(camera)
    simulator.stop()
    started = time.monotonic()
    camera.close()
    # Aravis itself waits for more than ten seconds.
    assert time.monotonic() - started < 5


def test_it_is_found_by_its_serial_number_and_by_the_name_it_was_given(
    opened: Callable[..., GenicamCamera], simulator: SimulatedCamera
) -> None:
    serial = simulator.settings.serial
    opened(features={"DeviceUserID": serial[::-1]}).close()
    found = next(camera for camera in discover() if camera.serial == serial)
    assert found.address == simulator.settings.address
    assert (found.vendor, found.model, found.protocol) == ("EdgeAgent", "Simulator", "GigEVision")
    for device in (serial, serial[::-1]):
        camera = make(simulator, device=device)
        camera.open()
        value(capture(camera))
        camera.close()


def test_the_setting_must_mean_one_camera(monkeypatch: pytest.MonkeyPatch) -> None:
    def attached(*serials: str) -> None:
        cameras = [Found(f"Maker-Model-{s}", f"mac-{s}", f"10.0.0.{s}", "Maker", "Model", s, "") for s in serials]
        monkeypatch.setattr(discovery, "discover", lambda: cameras)

    attached()
    with pytest.raises(CameraNotConnectedError, match="no camera answers"):
        discovery.find("")
    attached("1")
    assert discovery.find("") == discovery.find("1") == "Maker-Model-1"
    assert discovery.find("10.9.9.9") == "10.9.9.9"
    assert discovery.find("a name") == "a name"
    attached("1", "2")
    assert discovery.find("2") == discovery.find("mac-2") == discovery.find("Maker-Model-2") == "Maker-Model-2"
    with pytest.raises(CameraError, match=r"2 cameras fit: Maker-Model-1 \(10.0.0.1\), Maker-Model-2"):
        discovery.find("")


def test_a_camera_that_is_none_of_gige_vision_is_asked_whether_it_is_there() -> None:
    """Aravis' own fake camera inside this process: no packets, no heartbeat, as with USB3 Vision."""
    aravis()._library.arv_enable_interface(b"Fake")
    try:
        settings: Dict[str, Any] = {"device": "Fake_1", "pixel_format": "Mono8", "frame_rate": 100, "exposure_us": 5000}
        camera = GenicamCamera(convert(settings, GenicamSettings, "test"), SystemClock())
        camera.open()
        assert camera._device is not None
        assert not camera._device.is_gige
        assert camera._device.is_controlled()
        assert capture(camera).pixels.shape == (512, 512, 3)
        assert set(camera.counters()) == {"frames_missed", "frames_incomplete", "frames_unasked", "underruns"}
        camera.close()
    finally:
        aravis()._library.arv_disable_interface(b"Fake")


def test_nothing_is_left_open(simulator: SimulatedCamera) -> None:
    process = psutil.Process(os.getpid())
    camera = make(simulator)
    # Cameras of other tests that went without a word may be waited for still.
    before = set(threading.enumerate())
    files: List[int] = []
    for _ in range(6):
        camera.open()
        capture(camera)
        camera.close()
        files.append(process.num_fds())
    assert files[-1] <= files[0]
    assert set(threading.enumerate()) <= before


def test_without_the_library_the_package_to_install_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_agent.cameras.genicam.aravis._SONAME", "libaravis-0.8.so.nowhere")
    with pytest.raises(CameraError, match=r"Aravis: is not installed.*apt-get install libaravis-0\.8-0"):
        Aravis()


@pytest.mark.parametrize(("mode", "free_running"), [("free", True), ("software", False), ("line", False)])
def test_a_lane_is_told_whether_silence_means_anything(mode: str, free_running: bool) -> None:  # noqa: FBT001 - a case
    settings = convert({"trigger": {"mode": mode}}, GenicamSettings, "test")
    assert GenicamCamera(settings, SystemClock()).free_running is free_running


@pytest.mark.parametrize(
    ("last", "now", "step"),
    [(1, 2, 1), (1, 5, 4), (5, 5, 0), (5, 4, -1), (65535, 1, 1), (65533, 2, 4), (2, 65533, -4), (70000, 70001, 1)],
)
def test_numbers_of_images_go_round(last: int, now: int, step: int) -> None:
    assert _step(last, now) == step
