"""DetectAnomalies: pixels and masks by bytes and by shared memory, limits, queue (contract sections 1.5 to 1.9)."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, List

import grpc
import numpy as np
import pytest
from server.conftest import LARGE, Client, byte_request
from support.packages import make_package

from edge_agent.contract import TIMINGS_METADATA, VERSION_METADATA
from edge_agent.model import load_model, open_package
from edge_agent.server import ModelServer
from edge_agent.server.turns import MAX_WAITING
from edge_agent.wire import edge_agent_pb2 as wire


def picture(height: int = 240, width: int = 320) -> np.ndarray:
    pixels = np.full((height, width, 3), 128, dtype=np.uint8)
    pixels[40:80, 40:120] = (230, 10, 10)
    return pixels


@pytest.fixture
def running(client: Client) -> Client:
    client.start_and_wait("bolts")
    return client


def shm_request(name: str, shape: Any, handle: Any, mask: Any = None) -> Any:
    bitmap = wire.Bitmap(width=shape[1], height=shape[0], shared_memory_handle=handle)
    request = wire.DetectAnomaliesRequest(model_component=name, bitmap=bitmap)
    if mask is not None:
        request.anomaly_mask_params.shared_memory_handle.CopyFrom(mask)
    return request


def handle_of(segment: Any, size: int, offset: int = 0) -> Any:
    return wire.SharedMemoryHandle(name=segment.name, size=size, offset=offset)


def test_answer_by_bytes_is_the_models_own(models: Path, running: Client) -> None:
    result = running.detect("bolts", picture())
    with open_package(models / "bolts") as package:
        verdict = load_model(package, threads=1).detect(picture())
    assert result.is_anomalous
    assert result.confidence == pytest.approx(verdict.confidence)
    assert result.anomaly_score == pytest.approx(verdict.score)
    assert result.anomaly_threshold == pytest.approx(0.5)
    found = [(a.name, a.pixel_anomaly.total_percentage_area, a.pixel_anomaly.hex_color) for a in result.anomalies]
    assert found == [(a.name, pytest.approx(a.area), a.hex_color) for a in verdict.anomalies]
    assert found[0][0] == "background"
    mask = result.anomaly_mask
    assert (mask.width, mask.height, mask.WhichOneof("data")) == (320, 240, "byte_data")
    assert mask.byte_data == verdict.mask.tobytes()


def test_classification_has_no_mask_and_ignores_a_place_for_one(models: Path, client: Client) -> None:
    make_package(models / "classes", heads="class")
    client.start_and_wait("classes")
    request = byte_request("classes", picture())
    request.anomaly_mask_params.shared_memory_handle.name = "/nowhere"
    result = client.send(request).detect_anomaly_result
    assert result.is_anomalous
    assert not result.HasField("anomaly_mask")
    assert list(result.anomalies) == []


@pytest.mark.parametrize("slash", ["/", ""])
def test_shared_memory_both_ways(running: Client, segment: Any, slash: str) -> None:
    pixels = picture()
    image, mask = segment(pixels.nbytes + 100), segment(240 * 320 * 3 + 64)
    image.write(pixels.tobytes(), 100)
    request = shm_request(
        "bolts", pixels.shape, handle_of(image, pixels.nbytes, 100), handle_of(mask, 240 * 320 * 3, 64)
    )
    request.bitmap.shared_memory_handle.name = slash + image.name.lstrip("/")
    result = running.send(request).detect_anomaly_result
    reply = result.anomaly_mask
    assert (reply.width, reply.height, reply.WhichOneof("data")) == (320, 240, "shared_memory_handle")
    place = reply.shared_memory_handle
    assert (place.name, place.offset, place.size) == (mask.name, 64, 240 * 320 * 3)
    by_bytes = running.detect("bolts", pixels)
    assert mask.read(240 * 320 * 3, 64) == by_bytes.anomaly_mask.byte_data
    assert mask.read(64) == bytes(64)
    assert result.confidence == by_bytes.confidence


def test_a_recreated_and_a_resized_segment_are_seen_anew(running: Client, segment: Any) -> None:
    grey, spot = np.full((64, 64, 3), 128, np.uint8), picture(240, 320)
    one = segment(grey.nbytes, "/plain-again")
    one.write(grey.tobytes())
    request = shm_request("bolts", grey.shape, handle_of(one, grey.nbytes))
    assert not running.send(request).detect_anomaly_result.is_anomalous
    one.unlink()
    one.__init__("/plain-again", spot.nbytes)
    one.write(spot.tobytes())
    large = shm_request("bolts", spot.shape, handle_of(one, spot.nbytes))
    assert running.send(large).detect_anomaly_result.is_anomalous
    one.resize(grey.nbytes)
    with pytest.raises(grpc.RpcError) as caught:
        running.send(large)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    one.resize(spot.nbytes * 2)
    one.write(spot.tobytes())
    assert running.send(large).detect_anomaly_result.is_anomalous


def test_image_and_mask_in_a_segment_beyond_all_memory_take_their_own_bytes_alone(
    running: Client, segment: Any
) -> None:
    pixels = picture()
    huge = segment(2**44)
    image, mask, nowhere = (handle_of(huge, pixels.nbytes, place) for place in (2**40, 2**41, 2**42))
    black = running.send(shm_request("bolts", pixels.shape, nowhere)).detect_anomaly_result
    assert black.confidence == running.detect("bolts", np.zeros_like(pixels)).confidence
    assert huge.blocks() == 0
    huge.write(pixels.tobytes(), 2**40)
    result = running.send(shm_request("bolts", pixels.shape, image, mask)).detect_anomaly_result
    assert result.is_anomalous
    assert huge.read(pixels.nbytes, 2**41) == running.detect("bolts", pixels).anomaly_mask.byte_data
    assert huge.blocks() * 512 < 2 * pixels.nbytes + 4 * 4096


HUGE = 2**64 - 1
BAD_HANDLES = [
    ({"name": "/no-such-segment"}, "cannot be opened (No such file or directory)"),
    ({"name": ""}, "is not a shared-memory name"),
    ({"name": "../etc/passwd"}, "is not a shared-memory name"),
    ({"name": "/../../etc/passwd"}, "is not a shared-memory name"),
    ({"name": "//x/y"}, "is not a shared-memory name"),
    ({"name": ".."}, "is not a shared-memory name"),
    ({"name": "/" + "x" * 300}, "is not a shared-memory name"),
    ({"offset": 1}, "at offset 1"),
    ({"offset": HUGE}, f"at offset {HUGE}"),
    ({"size": HUGE}, f"not {HUGE} at offset 0"),
    ({"size": HUGE, "offset": HUGE}, f"not {HUGE} at offset {HUGE}"),
]


@pytest.mark.parametrize(("change", "text"), BAD_HANDLES)
def test_bad_handles(running: Client, segment: Any, refused: Any, change: Any, text: str) -> None:
    pixels = picture(240, 320)
    image = segment(pixels.nbytes)
    bad = handle_of(image, pixels.nbytes)
    for key, value in change.items():
        setattr(bad, key, value)
    with refused("INVALID_ARGUMENT", text):
        running.send(shm_request("bolts", pixels.shape, bad))
    with refused("INVALID_ARGUMENT", text):
        running.send(shm_request("bolts", pixels.shape, handle_of(image, pixels.nbytes), bad))
    assert running.send(shm_request("bolts", pixels.shape, handle_of(image, pixels.nbytes)))


def test_an_image_shorter_than_its_sides(running: Client, segment: Any, refused: Any) -> None:
    image = segment(240 * 320 * 3)
    with refused(
        "INVALID_ARGUMENT",
        "320x240 RGB888 pixels are 230400 bytes without padding, but shared_memory_handle has 230399",
    ):
        running.send(shm_request("bolts", (240, 320), handle_of(image, 240 * 320 * 3 - 1)))


def test_padded_rows_are_refused_rather_than_read_askew(running: Client, segment: Any, refused: Any) -> None:
    padded = 100 * 244  # 81 pixels are 243 bytes, which GStreamer pads to 244
    image = segment(padded)
    with refused("INVALID_ARGUMENT", "24300 bytes without padding, but shared_memory_handle has 24400"):
        running.send(shm_request("bolts", (100, 81), handle_of(image, padded)))


def test_a_mask_segment_that_is_too_small_names_the_size_needed(running: Client, segment: Any, refused: Any) -> None:
    mask = segment(1000)
    request = byte_request("bolts", picture())
    request.anomaly_mask_params.shared_memory_handle.CopyFrom(handle_of(mask, 1000))
    with refused("INVALID_ARGUMENT", "the mask is 320x240 RGB888 pixels and needs 230400 bytes"):
        running.send(request)
    request.anomaly_mask_params.shared_memory_handle.size = 230400
    with refused("INVALID_ARGUMENT", "holds 1000 bytes, not 230400 at offset 0"):
        running.send(request)


@pytest.mark.parametrize("shape", [(63, 64), (64, 63), (4097, 64), (64, 4097), (0, 0), (-1, 64)])
def test_sides_out_of_limits(running: Client, refused: Any, shape: Any) -> None:
    bitmap = wire.Bitmap(height=shape[0], width=shape[1], byte_data=b"x" * (abs(shape[0] * shape[1]) * 3))
    with refused("INVALID_ARGUMENT", f"bitmap: {shape[1]}x{shape[0]} pixels; each side must be 64 to 4096"):
        running.send(wire.DetectAnomaliesRequest(model_component="bolts", bitmap=bitmap))


@pytest.mark.parametrize("shape", [(64, 64), (64, 4096), (4096, 64)])
def test_sides_at_the_limits(running: Client, shape: Any) -> None:
    assert not running.detect("bolts", np.full((*shape, 3), 128, np.uint8)).is_anomalous


def test_bytes_of_the_wrong_number(running: Client, refused: Any) -> None:
    for data in (b"", b"x" * (64 * 64 * 3 - 1), b"x" * (64 * 64 * 4)):
        with refused(
            "INVALID_ARGUMENT", f"64x64 RGB888 pixels are 12288 bytes without padding, but byte_data has {len(data)}"
        ):
            running.send(
                wire.DetectAnomaliesRequest(
                    model_component="bolts", bitmap=wire.Bitmap(width=64, height=64, byte_data=data)
                )
            )


def test_a_missing_bitmap_or_missing_pixels(running: Client, refused: Any) -> None:
    with refused("INVALID_ARGUMENT", "bitmap: 0x0 pixels"):
        running.send(wire.DetectAnomaliesRequest(model_component="bolts"))
    with refused("INVALID_ARGUMENT", "neither byte_data nor shared_memory_handle"):
        running.send(wire.DetectAnomaliesRequest(model_component="bolts", bitmap=wire.Bitmap(width=64, height=64)))


def test_large_images_by_bytes(running: Client, server: ModelServer) -> None:
    assert not running.detect("bolts", np.full((1183, 1183, 3), 128, np.uint8)).is_anomalous
    assert not running.detect("bolts", np.full((4096, 4096, 3), 128, np.uint8)).is_anomalous
    default = Client(server.socket)
    # gRPC limits what a default client receives to 4 MiB; what it sends is its own affair.
    assert default.detect("bolts", picture(1080, 1920)).is_anomalous
    default.close()


def test_a_default_client_is_refused_a_large_mask_by_its_own_grpc(
    models: Path, server: ModelServer, refused: Any
) -> None:
    make_package(models / "wide", raw_image_shape=(1183, 1183))
    default, large = Client(server.socket), Client(server.socket, LARGE)
    default.start_and_wait("wide")
    with refused("RESOURCE_EXHAUSTED", "larger than max"):
        default.detect("wide", picture())
    assert large.detect("wide", picture()).anomaly_mask.width == 1183
    default.close()
    large.close()


def test_metadata_names_version_and_timings(running: Client) -> None:
    _, call = running.stub.DetectAnomalies.with_call(byte_request("bolts", picture()), timeout=10)
    metadata = dict(call.trailing_metadata())
    assert metadata[VERSION_METADATA] == "2.0.0"
    stages = [float(value) for value in metadata[TIMINGS_METADATA].split(";")]
    assert len(stages) == 4
    assert all(stage >= 0 for stage in stages)
    assert stages[2] > 0


@pytest.fixture
def slow(models: Path, client: Client) -> Client:
    """A model of about a quarter of a second a call."""
    make_package(models / "slow", size=(256, 256), work=60)
    client.start_and_wait("slow")
    return client


def wait_for_calls(server: ModelServer, count: int) -> None:
    turns = server._registry.slot("slow").turns
    deadline = time.monotonic() + 20
    while turns.at_work + turns.waiting < count and time.monotonic() < deadline:
        time.sleep(0.002)
    assert turns.at_work + turns.waiting >= count


def test_the_queue_is_bounded_and_every_call_in_it_is_answered(slow: Client, server: ModelServer, refused: Any) -> None:
    calls = [slow.stub.DetectAnomalies.future(byte_request("slow", picture())) for _ in range(1 + MAX_WAITING)]
    wait_for_calls(server, 1 + MAX_WAITING)
    with refused("RESOURCE_EXHAUSTED", f"slow: {MAX_WAITING} calls wait for this model already"):
        slow.detect("slow", picture())
    assert slow.describe("slow").status == wire.RUNNING
    assert all(call.result(timeout=60).detect_anomaly_result.is_anomalous for call in calls)
    assert slow.detect("slow", picture()).is_anomalous


def test_stop_waits_for_the_calls_in_flight(slow: Client, server: ModelServer, refused: Any) -> None:
    calls = [slow.stub.DetectAnomalies.future(byte_request("slow", picture())) for _ in range(3)]
    wait_for_calls(server, 3)
    stopped: List[int] = []
    thread = threading.Thread(target=lambda: stopped.append(slow.stop("slow")))
    thread.start()
    deadline = time.monotonic() + 10
    while slow.describe("slow").status == wire.RUNNING and time.monotonic() < deadline:
        time.sleep(0.002)
    with refused("FAILED_PRECONDITION", "slow: DetectAnomalies needs it RUNNING; its state is STOPPING"):
        slow.detect("slow", picture())
    with refused("FAILED_PRECONDITION", "STOPPING"):
        slow.start("slow")
    with refused("FAILED_PRECONDITION", "STOPPING"):
        slow.stop("slow")
    assert stopped == []
    thread.join(30)
    assert stopped == [wire.STOPPED]
    assert all(call.result(timeout=10).detect_anomaly_result.is_anomalous for call in calls)


def test_another_model_answers_while_one_is_busy(slow: Client, server: ModelServer) -> None:
    slow.start_and_wait("bolts")
    calls = [slow.stub.DetectAnomalies.future(byte_request("slow", picture())) for _ in range(5)]
    wait_for_calls(server, 5)
    assert slow.detect("bolts", picture()).is_anomalous
    assert not calls[-1].done()
    for call in calls:
        call.result(timeout=60)


def test_an_expired_call_is_not_computed(slow: Client, server: ModelServer, refused: Any) -> None:
    first = slow.stub.DetectAnomalies.future(byte_request("slow", picture()))
    wait_for_calls(server, 1)
    with refused("DEADLINE_EXCEEDED"):
        slow.detect("slow", picture(), timeout=0.02)
    first.result(timeout=30)
    turns = server._registry.slot("slow").turns
    turns.wait_until_empty()
    assert (turns.waiting, turns.at_work) == (0, 0)


def test_a_fault_of_ours_is_internal_and_logged_once(
    running: Client, server: ModelServer, refused: Any, caplog: pytest.LogCaptureFixture
) -> None:
    server._registry.slot("bolts").turns.pool._idle[0].model._engine._session = None  # an engine that broke
    with caplog.at_level("ERROR"), refused("INTERNAL", "mochi/model.onnx: does not run"):
        running.detect("bolts", picture())
    assert len(caplog.records) == 1


def test_a_client_that_dies_leaves_its_segment_to_its_owner(running: Client, server: ModelServer, segment: Any) -> None:
    pixels = picture()
    image = segment(pixels.nbytes)
    image.write(pixels.tobytes())
    script = (
        "import sys, os, signal, grpc\n"
        "from edge_agent.wire import edge_agent_pb2 as wire, edge_agent_pb2_grpc as rpc\n"
        "stub = rpc.EdgeAgentStub(grpc.insecure_channel('unix:' + sys.argv[1]))\n"
        "handle = wire.SharedMemoryHandle(name=sys.argv[2], size=230400)\n"
        "bitmap = wire.Bitmap(width=320, height=240, shared_memory_handle=handle)\n"
        "request = wire.DetectAnomaliesRequest(model_component='bolts', bitmap=bitmap)\n"
        "assert stub.DetectAnomalies(request).detect_anomaly_result.is_anomalous\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, server.socket, image.name], timeout=60, check=False, capture_output=True
    )
    assert done.returncode == -9, done.stderr
    assert running.send(shm_request("bolts", pixels.shape, handle_of(image, pixels.nbytes)))
    assert len(server._segments._segments) == 1
    server._segments.sweep()
    assert len(server._segments._segments) == 1


def test_the_mapping_of_a_vanished_segment_is_dropped(running: Client, server: ModelServer, segment: Any) -> None:
    pixels = picture()
    image = segment(pixels.nbytes)
    request = shm_request("bolts", pixels.shape, handle_of(image, pixels.nbytes))
    running.send(request)
    image.unlink()
    server._segments.sweep()
    assert not server._segments._segments
    image.__init__(image.name, pixels.nbytes)
