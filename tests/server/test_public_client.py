"""The contract as an old client meets it: a bare gRPC channel, the generated stubs, and the public documentation.

The server is a process of its own. Everything is judged by what comes over the socket: states and transitions, one
status code for each documented cause, the forms in which clients send images and take masks.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from multiprocessing import shared_memory
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple

import grpc
import numpy as np
import onnx
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from onnx import helper, numpy_helper
from support.packages import make_package, zip_package

from edge_agent.wire import edge_agent_pb2 as wire
from edge_agent.wire import edge_agent_pb2_grpc

PATIENCE_S = 60
DETECT = "/AWS.LookoutVision.EdgeAgent/DetectAnomalies"


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an Edge Agent with five deployed models."""
    models = tmp_path_factory.mktemp("deployed")
    make_package(models / "bolts", version="2.0.0")
    make_package(models / "idle", version=None)
    make_package(models / "slow", size=(256, 256), work=60)  # a quarter of a second a call
    zip_package(make_package(models.parent / "classes", heads="class"), models / "classes.zip")
    make_package(models / "broken", top={"runtime": "unheard-of"})
    give_up_on_red(make_package(models / "moody"))
    directory = tempfile.mkdtemp(prefix="ea-")
    socket = f"{directory}/agent.sock"
    command = [sys.executable, "-m", "edge_agent", "serve", "--models", str(models), "--socket", socket]
    with subprocess.Popen([*command, "--threads", "1"], stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        assert b"serving 6 models" in process.stderr.readline()
        yield f"unix://{socket}"
        process.terminate()
        process.communicate(timeout=PATIENCE_S)
    shutil.rmtree(directory)


def give_up_on_red(package: Path) -> None:
    """Make the network take the root of a negative number when it sees red: an engine's fault, not the caller's."""
    file = package / "mochi" / "model.onnx"
    network = onnx.load(str(file))
    (last,) = [node for node in network.graph.node if node.op_type == "Concat"]
    last.output[0] = "sound"
    network.graph.initializer.append(numpy_helper.from_array(np.array([0.9], np.float32), "limit"))
    network.graph.node.extend(
        [
            helper.make_node("Sub", ["limit", "anomaly"], ["room"]),
            helper.make_node("Sqrt", ["room"], ["root"]),
            helper.make_node("Div", ["root", "root"], ["unity"]),
            helper.make_node("Mul", ["sound", "unity"], ["class"]),
        ]
    )
    onnx.save(network, str(file))


@pytest.fixture
def stub(agent: str) -> Iterator[Any]:
    with grpc.insecure_channel(agent) as channel:
        yield edge_agent_pb2_grpc.EdgeAgentStub(channel)


# What every client of the documentation writes.


def describe(stub: Any, name: str) -> Any:
    return stub.DescribeModel(wire.DescribeModelRequest(model_component=name)).model_description


def start_if_needed(stub: Any, name: str) -> None:
    """The documentation's loop, with its blind spots: no time limit, and STOPPING is taken for the end."""
    while True:
        status = describe(stub, name).status
        if status == wire.STARTING:
            time.sleep(0.02)  # the documentation's is a second
        elif status == wire.STOPPED:
            stub.StartModel(wire.StartModelRequest(model_component=name))
        elif status == wire.FAILED:
            raise RuntimeError(f"{name} failed to start")
        else:
            return


def stop_if_needed(stub: Any, name: str) -> None:
    with contextlib.suppress(RuntimeError):
        start_if_needed(stub, name)
    if describe(stub, name).status == wire.RUNNING:
        assert stub.StopModel(wire.StopModelRequest(model_component=name)).status == wire.STOPPED


def wait_for(stub: Any, name: str, status: int) -> Any:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        described = describe(stub, name)
        if described.status == status:
            return described
        time.sleep(0.005)
    raise AssertionError(f"{name} is {described}, not {wire.ModelStatus.Name(status)}")


def grey(height: int = 240, width: int = 320) -> np.ndarray:
    return np.full((height, width, 3), 128, dtype=np.uint8)


def scratched(height: int = 240, width: int = 320) -> np.ndarray:
    pixels = grey(height, width)
    pixels[height // 6 : height // 3, width // 8 : width // 3] = (230, 10, 10)
    return pixels


def by_bytes(name: str, pixels: np.ndarray) -> Any:
    height, width = pixels.shape[:2]
    bitmap = wire.Bitmap(width=width, height=height, byte_data=pixels.tobytes())
    return wire.DetectAnomaliesRequest(model_component=name, bitmap=bitmap)


def by_memory(name: str, shape: Tuple[int, ...], handle: Any, mask: Any = None) -> Any:
    bitmap = wire.Bitmap(width=shape[1], height=shape[0], shared_memory_handle=handle)
    request = wire.DetectAnomaliesRequest(model_component=name, bitmap=bitmap)
    if mask is not None:
        request.anomaly_mask_params.shared_memory_handle.CopyFrom(mask)
    return request


def code_of(call: Callable[[], Any]) -> str:
    """The status code that a call ends with; its details are one plain sentence."""
    try:
        call()
    except grpc.RpcError as caught:
        error: Any = caught
        assert error.details()
        assert "Traceback" not in error.details()
        return str(error.code().name)
    return "OK"


# Sections 1.3 and 1.4: states, transitions and their codes.


class Allowed(NamedTuple):
    start: str = "FAILED_PRECONDITION"
    stop: str = "FAILED_PRECONDITION"
    detect: str = "FAILED_PRECONDITION"


STATES: Dict[int, Allowed] = {
    wire.STOPPED: Allowed(start="OK"),
    wire.STARTING: Allowed(),
    wire.RUNNING: Allowed(stop="OK", detect="OK"),
    wire.STOPPING: Allowed(),
    wire.FAILED: Allowed(start="OK"),
}


@contextlib.contextmanager
def model_in(stub: Any, state: int) -> Iterator[str]:
    """The name of a model that has been brought into a state, and is there long enough for a few calls."""
    name = {wire.STARTING: "slow", wire.STOPPING: "slow", wire.FAILED: "broken"}.get(state, "bolts")
    if state == wire.FAILED:
        if describe(stub, name).status != wire.FAILED:
            stub.StartModel(wire.StartModelRequest(model_component=name))
        assert "unheard-of" in wait_for(stub, name, wire.FAILED).status_message
    elif state in (wire.STOPPED, wire.STARTING):
        stop_if_needed(stub, name)
    else:
        start_if_needed(stub, name)
    calls: List[Any] = []
    if state == wire.STARTING:
        assert stub.StartModel(wire.StartModelRequest(model_component=name)).status == wire.STARTING
    elif state == wire.STOPPING:
        calls = [stub.DetectAnomalies.future(by_bytes(name, grey())) for _ in range(5)]
        calls[0].result(PATIENCE_S)  # by now the others have arrived
        calls.append(stub.StopModel.future(wire.StopModelRequest(model_component=name)))
        wait_for(stub, name, wire.STOPPING)
    yield name
    for call in calls:  # StopModel returns after the calls in flight, and those are all answered
        call.result(PATIENCE_S)
    if state == wire.STOPPING:
        assert calls[-1].result().status == wire.STOPPED


@pytest.mark.parametrize("state", list(STATES), ids=wire.ModelStatus.Name)
def test_what_a_state_allows(stub: Any, state: int) -> None:
    expected = STATES[state]
    with model_in(stub, state) as name:
        found = Allowed(
            detect=code_of(lambda: stub.DetectAnomalies(by_bytes(name, grey()))),
            stop=code_of(lambda: stub.StopModel(wire.StopModelRequest(model_component=name))),
            # Where StopModel is allowed, the model is RUNNING, and StartModel is asked of a running model again.
            start=code_of(lambda: (expected.stop == "OK" and start_if_needed(stub, name)) or start_model(stub, name)),
        )
        assert found == expected
        assert describe(stub, name).model_component == name


def start_model(stub: Any, name: str) -> None:
    assert stub.StartModel(wire.StartModelRequest(model_component=name)).status == wire.STARTING


def test_list_and_describe_agree_on_running_and_stopped_models(stub: Any) -> None:
    start_if_needed(stub, "bolts")
    listed = {model.model_component: model for model in stub.ListModels(wire.ListModelsRequest()).models}
    assert sorted(listed) == ["bolts", "broken", "classes", "idle", "moody", "slow"]
    assert (listed["bolts"].status, listed["idle"].status) == (wire.RUNNING, wire.STOPPED)
    assert listed["idle"].lookout_vision_model_arn == "arn:aws:lookoutvision:::model/idle/0"
    assert listed["bolts"].lookout_vision_model_arn.endswith(":model/bolts/2.0.0")
    for name in ("bolts", "idle"):
        assert describe(stub, name).SerializeToString() == listed[name].SerializeToString()


# Section 1.3: a code for each cause, whatever the state of the rest.


def changed(**fields: Any) -> Callable[[Any], None]:
    """Change the bitmap of a good request."""

    def change(request: Any) -> None:
        for key, value in fields.items():
            setattr(request.bitmap, key, value)

    return change


def handle(name: str = "/no-such-segment", *, mask: bool = False) -> Callable[[Any], None]:
    """Send a handle that leads nowhere, for the image or for the mask."""

    def change(request: Any) -> None:
        place = request.anomaly_mask_params if mask else request.bitmap
        place.shared_memory_handle.CopyFrom(wire.SharedMemoryHandle(name=name, size=230400))

    return change


BAD_INPUT: Dict[str, Callable[[Any], None]] = {
    "no component": lambda request: request.ClearField("model_component"),
    "no bitmap": lambda request: request.ClearField("bitmap"),
    "no pixels": lambda request: request.bitmap.ClearField("byte_data"),
    "one byte missing": changed(byte_data=bytes(240 * 320 * 3 - 1)),
    "RGBA": changed(byte_data=bytes(240 * 320 * 4)),
    "padded rows": changed(width=321, byte_data=bytes(240 * 964)),
    "63 pixels wide": changed(width=63, byte_data=bytes(240 * 63 * 3)),
    "63 pixels high": changed(height=63, byte_data=bytes(63 * 320 * 3)),
    "4097 pixels wide": changed(width=4097, byte_data=bytes(240 * 4097 * 3)),
    "4097 pixels high": changed(height=4097, byte_data=bytes(4097 * 320 * 3)),
    "no width": changed(width=0),
    "negative height": changed(height=-240),
    "no such segment": handle(),
    "segment without a name": handle(""),
    "segment elsewhere": handle("/../../etc/passwd"),
    "no such segment for the mask": handle(mask=True),
}


@pytest.mark.parametrize("fault", BAD_INPUT)
def test_bad_input_is_an_invalid_argument(stub: Any, fault: str) -> None:
    start_if_needed(stub, "bolts")
    request = by_bytes("bolts", grey())
    BAD_INPUT[fault](request)
    assert code_of(lambda: stub.DetectAnomalies(request)) == "INVALID_ARGUMENT"


CALLS = {
    "DetectAnomalies": lambda name: by_bytes(name, grey()),
    "StartModel": lambda name: wire.StartModelRequest(model_component=name),
    "StopModel": lambda name: wire.StopModelRequest(model_component=name),
    "DescribeModel": lambda name: wire.DescribeModelRequest(model_component=name),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("", "INVALID_ARGUMENT"),
        ("nuts", "NOT_FOUND"),
        ("../deployed/bolts", "NOT_FOUND"),
        ("\N{SNOWMAN}" * 100_000, "NOT_FOUND"),
    ],
    ids=["empty", "unknown", "path", "long"],
)
def test_names(stub: Any, call: str, name: str, code: str) -> None:
    assert code_of(lambda: getattr(stub, call)(CALLS[call](name))) == code


@pytest.mark.parametrize("call", [*CALLS, "ListModels"])
def test_bytes_that_are_no_message(agent: str, call: str) -> None:
    with grpc.insecure_channel(agent) as channel:
        send = channel.unary_unary(f"/AWS.LookoutVision.EdgeAgent/{call}")
        assert code_of(lambda: send(b"\x0a\xff\x01")) == "INVALID_ARGUMENT"
        assert code_of(lambda: send(b"\x0a\x02\xff\xfe" if call != "ListModels" else b"\x07")) == "INVALID_ARGUMENT"


def test_a_fault_of_the_engine_is_internal_and_the_model_serves_on(stub: Any) -> None:
    start_if_needed(stub, "moody")
    assert code_of(lambda: stub.DetectAnomalies(by_bytes("moody", scratched()))) == "INTERNAL"
    assert not stub.DetectAnomalies(by_bytes("moody", grey())).detect_anomaly_result.is_anomalous


def test_more_calls_than_a_model_can_take_are_refused_and_the_others_answered(stub: Any) -> None:
    start_if_needed(stub, "slow")
    calls = [stub.DetectAnomalies.future(by_bytes("slow", scratched())) for _ in range(20)]
    codes = [code_of(call.result) for call in calls]
    assert set(codes) == {"OK", "RESOURCE_EXHAUSTED"}
    assert codes.count("OK") >= 9  # one at work and eight in the queue
    assert describe(stub, "slow").status == wire.RUNNING


def test_codes_that_grpc_gives(agent: str, stub: Any, tmp_path: Path) -> None:
    start_if_needed(stub, "slow")
    assert code_of(lambda: stub.DetectAnomalies(by_bytes("slow", grey()), timeout=0.02)) == "DEADLINE_EXCEEDED"
    with grpc.insecure_channel(agent) as channel:
        assert code_of(lambda: channel.unary_unary(DETECT[:-2])(b"")) == "UNIMPLEMENTED"
        assert code_of(lambda: channel.unary_unary(DETECT)(bytes(65 << 20))) == "RESOURCE_EXHAUSTED"
    with grpc.insecure_channel(f"unix://{tmp_path}/absent.sock") as channel:
        absent = edge_agent_pb2_grpc.EdgeAgentStub(channel)
        assert code_of(lambda: absent.ListModels(wire.ListModelsRequest())) == "UNAVAILABLE"


# Sections 1.5, 1.7 and 2: results, by bytes, as AWS's samples take them.


def test_a_segmentation_result(stub: Any) -> None:
    start_if_needed(stub, "bolts")
    result = stub.DetectAnomalies(by_bytes("bolts", scratched())).detect_anomaly_result
    assert result.is_anomalous
    assert 0.5 < result.confidence <= 1
    assert result.anomaly_score == result.confidence
    assert result.anomaly_threshold == 0.5
    assert [anomaly.name for anomaly in result.anomalies] == ["background", "scratch"]
    assert result.anomalies[0].pixel_anomaly.hex_color == "#FFFFFF"
    bitmap = result.anomaly_mask
    assert (bitmap.width, bitmap.height, bitmap.WhichOneof("data")) == (320, 240, "byte_data")
    mask = np.frombuffer(bitmap.byte_data, np.uint8).reshape(bitmap.height, bitmap.width, 3)
    for anomaly in result.anomalies:
        colour = tuple(bytes.fromhex(anomaly.pixel_anomaly.hex_color.lstrip("#")))
        share = (mask == colour).all(axis=2).mean()
        assert anomaly.pixel_anomaly.total_percentage_area == pytest.approx(share)
    assert sum(anomaly.pixel_anomaly.total_percentage_area for anomaly in result.anomalies) == pytest.approx(1)


def test_the_confidence_of_a_normal_image_is_that_of_the_verdict(stub: Any) -> None:
    start_if_needed(stub, "bolts")
    result = stub.DetectAnomalies(by_bytes("bolts", grey())).detect_anomaly_result
    assert not result.is_anomalous
    assert result.confidence == pytest.approx(1 - result.anomaly_score)
    assert [(anomaly.name, anomaly.pixel_anomaly.total_percentage_area) for anomaly in result.anomalies] == [
        ("background", 1.0)
    ]


def test_a_classification_result_has_neither_mask_nor_anomalies(stub: Any) -> None:
    start_if_needed(stub, "classes")
    result = stub.DetectAnomalies(by_bytes("classes", scratched())).detect_anomaly_result
    assert result.is_anomalous
    assert not result.HasField("anomaly_mask")
    assert len(result.anomalies) == 0


@pytest.mark.parametrize("shape", [(64, 64), (240, 320), (1080, 1920), (4096, 4096)], ids=str)
def test_a_channel_for_each_image_with_default_options_and_no_deadline(agent: str, stub: Any, shape: Any) -> None:
    start_if_needed(stub, "bolts")
    for pixels, verdict in ((grey(*shape), False), (scratched(*shape), True)):
        with grpc.insecure_channel(agent) as channel:
            detect = edge_agent_pb2_grpc.EdgeAgentStub(channel).DetectAnomalies
            assert detect(by_bytes("bolts", pixels)).detect_anomaly_result.is_anomalous is verdict


def test_a_client_of_the_first_contract_skips_score_and_threshold(agent: str, stub: Any) -> None:
    start_if_needed(stub, "bolts")
    file = descriptor_pb2.FileDescriptorProto()
    wire.DESCRIPTOR.CopyToProto(file)
    (result,) = [message for message in file.message_type if message.name == "DetectAnomalyResult"]
    kept = [field for field in result.field if field.number <= 4]
    del result.field[:]
    result.field.extend(kept)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    response = message_factory.GetMessageClass(pool.FindMessageTypeByName("AWS.LookoutVision.DetectAnomaliesResponse"))
    with grpc.insecure_channel(agent) as channel:
        send = channel.unary_unary(DETECT, response_deserializer=response.FromString)
        old = send(by_bytes("bolts", scratched()).SerializeToString()).detect_anomaly_result
    assert old.is_anomalous
    assert not hasattr(old, "anomaly_score")


def test_the_mask_field_of_the_draft_contract_is_ignored(stub: Any) -> None:
    start_if_needed(stub, "bolts")
    request = by_bytes("bolts", grey())
    request.anomaly_mask_params.MergeFromString(b"\x1a\x02\x0a\x00")  # field 3 in place of 2
    result = stub.DetectAnomalies(request).detect_anomaly_result
    assert result.anomaly_mask.WhichOneof("data") == "byte_data"


# Section 1.6: shared memory.


class OldSegment:
    """As AWS's GStreamer element has it: one name for ever, mode 0666, grown by ftruncate, never shrunk."""

    NAME = "/gstreamer-lookoutvision-bitmap"
    PATH = "/dev/shm" + NAME

    def __init__(self) -> None:
        self._file: Optional[int] = None

    def put(self, pixels: np.ndarray) -> Any:
        if self._file is None:
            self._file = os.open(self.PATH, os.O_CREAT | os.O_RDWR, 0o666)
            os.ftruncate(self._file, 320 * 240 * 3)
        if os.fstat(self._file).st_size < pixels.nbytes:
            os.ftruncate(self._file, pixels.nbytes)
        os.pwrite(self._file, pixels.tobytes(), 0)
        return wire.SharedMemoryHandle(name=self.NAME, size=pixels.nbytes, offset=0)

    def destroy(self) -> None:
        assert self._file is not None
        os.close(self._file)
        os.unlink(self.PATH)  # noqa: PTH108 - a name in shared memory; it must still be there
        self._file = None


def test_one_segment_for_ever(stub: Any) -> None:
    start_if_needed(stub, "bolts")
    segment = OldSegment()
    for _ in range(2):  # the second time under the same name, with another inode
        for shape in ((240, 320), (480, 640), (100, 100)):
            for pixels, verdict in ((scratched(*shape), True), (grey(*shape), False)):
                result = stub.DetectAnomalies(by_memory("bolts", shape, segment.put(pixels))).detect_anomaly_result
                assert result.is_anomalous is verdict
                assert result.anomaly_mask.WhichOneof("data") == "byte_data"
        segment.destroy()
    gone = by_memory("bolts", (100, 100), wire.SharedMemoryHandle(name=OldSegment.NAME, size=30000))
    assert code_of(lambda: stub.DetectAnomalies(gone)) == "INVALID_ARGUMENT"


@pytest.mark.parametrize("slash", ["", "/"])
def test_pythons_shared_memory_for_image_and_mask(stub: Any, slash: str) -> None:
    start_if_needed(stub, "bolts")
    pixels = scratched()
    size = pixels.nbytes
    segment = shared_memory.SharedMemory(create=True, size=2 * size)
    try:
        segment.buf[:size] = pixels.tobytes()
        image = wire.SharedMemoryHandle(name=slash + segment.name, size=size)
        mask = wire.SharedMemoryHandle(name=slash + segment.name, size=size, offset=size)
        result = stub.DetectAnomalies(by_memory("bolts", (240, 320), image, mask)).detect_anomaly_result
        reply = result.anomaly_mask
        assert (reply.width, reply.height, reply.WhichOneof("data")) == (320, 240, "shared_memory_handle")
        assert reply.shared_memory_handle == mask
        expected = stub.DetectAnomalies(by_bytes("bolts", pixels)).detect_anomaly_result
        assert bytes(segment.buf[size : 2 * size]) == expected.anomaly_mask.byte_data
        assert bytes(segment.buf[:size]) == pixels.tobytes()
        assert result.confidence == expected.confidence
    finally:
        segment.close()
        segment.unlink()  # raises if the server had unlinked it


HUGE = 2**64 - 1
BAD_RANGES: Dict[str, Tuple[int, int]] = {
    "size beyond the end": (HUGE, 0),
    "offset beyond the end": (230400, 230401),
    "sum beyond the end": (230400, 1),
    "sum that overflows": (230400, HUGE - 230399),
    "too small for the pixels": (230399, 0),
}


@pytest.mark.parametrize("fault", BAD_RANGES)
@pytest.mark.parametrize("place", ["image", "mask"])
def test_ranges_that_do_not_fit(stub: Any, fault: str, place: str) -> None:
    start_if_needed(stub, "bolts")
    size, offset = BAD_RANGES[fault]
    segment = shared_memory.SharedMemory(create=True, size=230400)
    try:
        good = wire.SharedMemoryHandle(name=segment.name, size=230400)
        bad = wire.SharedMemoryHandle(name=segment.name, size=size, offset=offset)
        image, mask = (bad, good) if place == "image" else (good, bad)
        assert code_of(lambda: stub.DetectAnomalies(by_memory("bolts", (240, 320), image, mask))) == "INVALID_ARGUMENT"
        stub.DetectAnomalies(by_memory("bolts", (240, 320), good, good))
    finally:
        segment.close()
        segment.unlink()
