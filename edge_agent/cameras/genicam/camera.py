"""GigE Vision and USB3 Vision cameras through Aravis. docs/genicam.md is the page on them."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any, Dict, Optional

from edge_agent.cameras.base import Captured, Reserve
from edge_agent.cameras.genicam.device import Device
from edge_agent.cameras.genicam.discovery import find
from edge_agent.cameras.genicam.pixels import decode
from edge_agent.cameras.genicam.settings import GenicamSettings
from edge_agent.cameras.genicam.stream import Arrived, Stream
from edge_agent.clock import Clock
from edge_agent.errors import CameraError, CameraNotConnectedError, ImageError

# How long a camera that is no GigE Vision camera may be silent before it is asked whether it is there.
_ASK_AFTER_S = 1.0

# How long `close` waits for a camera to let go.
_RELEASE_S = 2.0

# An image cannot have waited longer than this: the wall clock was set meanwhile.
_MAX_AGE_NS = 10_000_000_000

# The largest number of an image in 16 bits, after which GigE Vision begins again at 1.
_LAST_ID = 0xFFFF


class GenicamCamera:
    """See the module's text. Used by one thread at a time, but for `counters`."""

    def __init__(self, settings: GenicamSettings, clock: Clock) -> None:
        # A line of the camera triggers when it does; its silence says nothing.
        self.free_running = settings.trigger.mode == "free"
        self._settings = settings
        self._clock = clock
        self._subject = f"genicam camera {settings.device}".strip()
        self._device: Optional[Device] = None
        self._stream: Optional[Stream] = None
        self._last_id: Optional[int] = None
        # Monotonic time of the last image, or of the last sign that the camera is there.
        self._heard_ns = 0
        self._asked_ns: Optional[int] = None
        self._lock = threading.Lock()
        # What is counted here, and what the streams of earlier openings and the present one counted.
        self._missed = self._incomplete = self._unasked = 0
        self._earlier: Counter[str] = Counter()
        self._present: Dict[str, int] = {}

    def open(self) -> None:
        try:
            self._device = Device(find(self._settings.device), self._subject)
            if not self._device.is_controlled():
                raise CameraNotConnectedError(self._subject, "another program controls it", "Close that one.")
            self._set_up(self._device)
            self._stream = Stream(self._device, self._settings.buffers, self._settings.network)
            self._count_transport(self._stream)
            self._device.start()
        except CameraError:
            self.close()
            raise
        self._last_id = None
        self._asked_ns = None
        self._heard_ns = self._clock.monotonic_ns()

    def capture(self, reserve: Reserve, timeout: float) -> Optional[Captured]:
        if self._device is None or self._stream is None:
            raise CameraNotConnectedError(self._subject, "is not open")
        if self._settings.trigger.mode == "software" and self._asked_ns is None:
            self._leave_out_unasked(self._stream)
            asked_ns = self._clock.monotonic_ns()
            self._device.trigger()
            self._asked_ns = asked_ns
        arrived = self._stream.pop(timeout)
        if arrived is None:
            self._count_transport(self._stream)
            self._check(self._device)
            return None
        try:
            return self._take(self._stream, arrived, reserve)
        finally:
            self._stream.give_back(arrived.buffer)
            self._count_transport(self._stream)

    def close(self) -> None:
        device, stream = self._device, self._stream
        self._device = self._stream = None
        with self._lock:
            self._earlier.update(self._present)
            self._present = {}
        if device is None:
            return
        # For a camera that is gone Aravis waits up to 13 s. One that is there lets go within milliseconds, and is waited
        # for: until then nobody else can open it.
        is_gone = device.is_gige and not device.is_controlled()
        releasing = threading.Thread(target=_release, args=(device, stream), name="genicam-release", daemon=True)
        releasing.start()
        releasing.join(0 if is_gone else _RELEASE_S)

    def counters(self) -> Dict[str, int]:
        """What the transport did since the camera was made, over all its openings. Safe from any thread.

        Returns:
            frames_missed: images that the camera numbered and that never came, for whatever reason.
            frames_incomplete: images that came in part; each was an ImageError too.
            frames_unasked: images, whole or not, that came without a software trigger in software mode.
            underruns: packets (USB3 Vision: images) that found no free buffer, because nobody took the images before.
            packets_resent, packets_missing, resend_requests: of a GigE Vision camera.
        """
        with self._lock:
            counted = {
                "frames_missed": self._missed,
                "frames_incomplete": self._incomplete,
                "frames_unasked": self._unasked,
            }
            names = self._earlier.keys() | self._present.keys()
            return {**counted, **{name: self._earlier[name] + self._present.get(name, 0) for name in sorted(names)}}

    def describe(self) -> Dict[str, Any]:
        """Vendor, model, serial number, formats, sensor, region, rate and, of a GigE Vision camera, packet size."""
        if self._device is None:
            raise CameraNotConnectedError(self._subject, "is not open")
        return self._device.describe()

    def _set_up(self, device: Device) -> None:
        settings = self._settings
        # The format first: the region's steps depend on it, and the rate's limits on the region and the exposure.
        if settings.pixel_format:
            device.set_pixel_format(settings.pixel_format)
        if settings.region is not None:
            device.set_region(settings.region.x, settings.region.y, settings.region.width, settings.region.height)
        if settings.exposure_us is not None:
            device.set_exposure_us(settings.exposure_us)
        if settings.gain is not None:
            device.set_gain(settings.gain)
        self._set_up_trigger(device)
        if settings.frame_rate is not None:
            device.set_frame_rate(settings.frame_rate)
        if device.is_gige:
            self._set_up_network(device)
        for name, value in settings.features.items():
            device.set_feature(name, str(value).lower() if isinstance(value, bool) else str(value))

    def _set_up_trigger(self, device: Device) -> None:
        trigger = self._settings.trigger
        if trigger.mode == "free":
            device.run_free()
            return
        device.wait_for_trigger(trigger.source if trigger.mode == "line" else "Software")
        # Aravis has set the rising edge, also where a camera has no choice.
        if trigger.activation != "RisingEdge":
            device.set_feature("TriggerActivation", trigger.activation)
        if trigger.delay_us is not None:
            device.set_trigger_delay_us(trigger.delay_us)

    def _set_up_network(self, device: Device) -> None:
        network = self._settings.network
        if not network.packet_socket:
            device.disable_packet_socket()
        device.set_packet_size(network.packet_size or 0)
        if network.packet_delay_ns is not None:
            device.set_packet_delay_ns(network.packet_delay_ns)

    def _take(self, stream: Stream, arrived: Arrived, reserve: Reserve) -> Optional[Captured]:
        self._heard_ns = self._clock.monotonic_ns()
        if not self._count_image(arrived):
            return None
        asked_ns, self._asked_ns = self._asked_ns, None
        name = f"{self._subject}: image {arrived.frame_id}"
        if arrived.fault:
            raise ImageError(name, f"came in part ({arrived.fault})", "Check the network; docs/genicam.md says how.")
        image = stream.image(arrived)
        # What waited in its buffer was captured that much earlier. The clocks are read in this order, since a pause between
        # the two must not make it older than its trigger: the lane would take it for an image of before.
        wall_ns = self._clock.wall_ns()
        now_ns = self._clock.monotonic_ns()
        age_ns = min(max(wall_ns - image.system_ns, 0), _MAX_AGE_NS)
        captured_ns = now_ns - age_ns
        pixels = decode(image.data, image.pixel_format, image.width, image.height, image.padding, reserve, name)
        return Captured(
            source=f"{self._settings.device or 'genicam'}#{arrived.frame_id}",
            captured_at_ns=wall_ns - age_ns,
            captured_ns=captured_ns if asked_ns is None else max(captured_ns, asked_ns),
            pixels=pixels,
        )

    def _count_image(self, arrived: Arrived) -> bool:
        """Count it and those left out before it; false for the rest of an image that was counted before."""
        step = 1 if self._last_id is None else _step(self._last_id, arrived.frame_id)
        if step < 1 and arrived.fault:
            return False
        self._last_id = arrived.frame_id
        with self._lock:
            self._missed += max(step - 1, 0)
            self._incomplete += bool(arrived.fault)
        return True

    def _leave_out_unasked(self, stream: Stream) -> None:
        """What lies there before a software trigger shows no part of ours: a camera may be asked twice where its answer
        was lost, and send two images.
        """
        while True:
            arrived = stream.pop(0)
            if arrived is None:
                return
            if self._count_image(arrived):
                with self._lock:
                    self._unasked += 1
            stream.give_back(arrived.buffer)

    def _count_transport(self, stream: Stream) -> None:
        counted = stream.counters()
        with self._lock:
            self._present = counted

    def _check(self, device: Device) -> None:
        """Nothing came: raise when the camera is gone, or owes an image that it was asked for."""
        now_ns = self._clock.monotonic_ns()
        if device.is_gige or (now_ns - self._heard_ns) / 1e9 > _ASK_AFTER_S:
            if not device.is_controlled():
                raise CameraNotConnectedError(self._subject, "is gone, or another program controls it")
            if not device.is_gige:
                self._heard_ns = now_ns
        limit_s = self._settings.trigger.timeout_s
        if self._asked_ns is not None and (now_ns - self._asked_ns) / 1e9 > limit_s:
            self._asked_ns = None
            raise ImageError(self._subject, f"sent no image within {limit_s:g} s of its software trigger")


def _release(device: Device, stream: Optional[Stream]) -> None:
    try:
        if stream is not None and device.is_controlled():
            device.stop()
    except CameraError:
        pass  # It went just now: there is nothing left to stop.
    finally:
        if stream is not None:
            stream.close()
        device.close()


def _step(last: int, now: int) -> int:
    """How far the number of an image is from that of the one before. Numbers of 16 bits go round, leaving out 0."""
    step = now - last
    if abs(step) > _LAST_ID // 2 and max(last, now) <= _LAST_ID:
        return step + _LAST_ID if step < 0 else step - _LAST_ID
    return step
