"""The server believes nothing that a child process says, since foreign code may speak there."""

from __future__ import annotations

import logging
import os
import resource
from pathlib import Path
from typing import Any, Callable

import msgspec
import pytest
from support.neo import child_processes, make_neo_package

from edge_agent.errors import EngineError
from edge_agent.model import open_package
from edge_agent.model.engine_neo import NeoEngine
from edge_agent.model.neo import memory
from edge_agent.model.neo.process import ChildProcess
from edge_agent.model.neo.protocol import (
    MAX_TEXT_BYTES,
    Loaded,
    Tensor,
    Tensors,
    decode_error,
    encode_error,
    encode_loaded,
)

Change = Callable[[Loaded], Loaded]


def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Change) -> None:
    path = make_neo_package(tmp_path / "bolts")
    wait = ChildProcess.wait_loaded
    monkeypatch.setattr(ChildProcess, "wait_loaded", lambda self, timeout: change(wait(self, timeout)))
    with open_package(path) as package:
        NeoEngine(package.stage_directory(), package.manifest, threads=1).close()


def with_output(**changes: Any) -> Change:
    def change(loaded: Loaded) -> Loaded:
        outputs = loaded.tensors.outputs
        changed = msgspec.structs.replace(outputs[0], **changes)
        return tensors(outputs=(changed, *outputs[1:]))(loaded)

    return change


def with_input(**changes: Any) -> Change:
    return lambda loaded: tensors(input=msgspec.structs.replace(loaded.tensors.input, **changes))(loaded)


def tensors(**changes: Any) -> Change:
    return lambda loaded: msgspec.structs.replace(loaded, tensors=msgspec.structs.replace(loaded.tensors, **changes))


LIES = [
    (with_output(offset=2**40), "nonsense"),
    (with_output(offset=-128), "nonsense"),
    (with_output(offset=4), "nonsense"),
    (with_output(shape=(1, 2, 4096, 4096)), "nonsense"),
    (with_output(shape=(1, 2, 0, 128)), "do not fit its manifest"),
    (with_output(dtype="object"), "has an output of object, not float32"),
    (with_input(shape=(1, 3, 96, 64)), "nonsense"),
    (with_input(dtype="float16"), "nonsense"),
    (with_input(offset=2**20), "nonsense"),
    (tensors(outputs=()), "do not fit its manifest"),
    (tensors(size=2**40), "spoilt the memory of its tensors"),
]


@pytest.mark.parametrize(("lie", "message"), LIES)
def test_a_lie_about_tensors_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lie: Change, message: str
) -> None:
    with pytest.raises(EngineError, match=message):
        load(tmp_path, monkeypatch, lie)
    assert child_processes() == []


@pytest.mark.parametrize("answer", [b"", b"{}", b"\xff", b"[" * 60_000, b"x" * 100_000])
def test_an_answer_that_is_none_ends_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    monkeypatch.setattr(ChildProcess, "_receive", lambda self, timeout, what: answer)
    with pytest.raises(EngineError, match="its process answered nonsense"):
        load(tmp_path, monkeypatch, lambda loaded: loaded)
    assert child_processes() == []


def test_memory_that_may_still_shrink_is_not_used() -> None:
    descriptor = memory.create_memory("bolts/mochi")
    os.ftruncate(descriptor, 4096)
    with pytest.raises(EngineError, match="bolts/mochi: its process spoilt the memory of its tensors"):
        memory.attach(descriptor, 4096, "bolts/mochi")
    memory.give_size(descriptor, 4096, "bolts/mochi").close()
    memory.attach(descriptor, 4096, "bolts/mochi").close()
    with pytest.raises(EngineError, match="spoilt"):
        memory.attach(descriptor, 8192, "bolts/mochi")
    with pytest.raises(PermissionError):
        os.ftruncate(descriptor, 0)
    os.close(descriptor)


def test_more_memory_than_is_allowed() -> None:
    descriptor = memory.create_memory("bolts/mochi")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(EngineError, match=r"bolts/mochi: gets no 8192 bytes for its tensors \(File too large\)"):
            memory.give_size(descriptor, 8192, "bolts/mochi")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        os.close(descriptor)


def test_errors_cross_the_pipe_as_what_they_are() -> None:
    error = EngineError("bolts/mochi", "is \udcff odd\0", "Go on.")
    kind, text = encode_error(error)[0], encode_error(error)[5:]
    assert str(decode_error(kind, text)) == "bolts/mochi: is ? odd . Go on."
    assert type(decode_error(99, b"\xff")) is EngineError


def test_a_process_that_is_not_kept_from_the_network_is_named_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    load(tmp_path, monkeypatch, lambda loaded: loaded)
    assert caplog.messages == []
    monkeypatch.undo()
    (tmp_path / "again").mkdir()
    load(tmp_path / "again", monkeypatch, lambda loaded: msgspec.structs.replace(loaded, unshielded="an old kernel"))
    assert caplog.messages == ["bolts/mochi: its process is not kept from the network: an old kernel"]


def test_tensors_fit_into_one_answer() -> None:
    """As many outputs and dimensions as are allowed, with the longest numbers."""
    tensor = Tensor((2**31,) * 16, "float32", 2**40)
    assert len(encode_loaded(Loaded(Tensors(tensor, (tensor,) * 16, 2**40)))) < MAX_TEXT_BYTES
