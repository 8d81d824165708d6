"""A compiled model behind the real server: what its death does to the call, to the model and to the other models."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import psutil
import pytest
from server.conftest import Client, byte_request
from support.dlr import make_dlr_package
from support.neo import child_processes, make_neo_package

from edge_agent.wire import edge_agent_pb2 as wire

GREY = np.full((96, 128, 3), 128, np.uint8)
RED = GREY.copy()
RED[20:40, 20:40] = (230, 10, 10)
TRIGGER = GREY.copy()
TRIGGER[0, 0] = (255, 0, 255)


def child() -> psutil.Process:
    (process,) = child_processes()
    return process


def test_a_crash_fails_one_call_and_one_model(models: Path, client: Client, refused: Any) -> None:
    make_neo_package(models / "foreign", mood="abort")
    client.start_and_wait("bolts")
    client.start_and_wait("foreign")
    assert client.detect("foreign", RED).is_anomalous
    for _ in range(2):
        with refused("INTERNAL", "foreign/mochi: its process was ended by SIGABRT (aborted)"):
            client.detect("foreign", TRIGGER)
        described = client.describe("foreign")
        assert described.status == wire.FAILED
        assert described.status_message == "the model stopped working: its process was ended by SIGABRT (aborted)"
        assert client.detect("bolts", RED).is_anomalous
        assert client.describe("bolts").status == wire.RUNNING
        with refused("FAILED_PRECONDITION", "its state is FAILED"):
            client.detect("foreign", GREY)
        assert client.start_and_wait("foreign").status_message == ""
        assert client.detect("foreign", RED).is_anomalous
        assert not client.detect("foreign", GREY).is_anomalous
    assert client.stop("foreign") == wire.STOPPED
    assert child_processes() == []


@pytest.mark.parametrize("kind", ["gpu", "relayvm"])
def test_a_model_in_the_runtime_of_its_package(models: Path, client: Client, refused: Any, kind: str) -> None:
    make_dlr_package(models / "foreign", kind=kind, mood="abort")
    client.start_and_wait("foreign")
    assert client.detect("foreign", RED).is_anomalous
    assert not client.detect("foreign", GREY).is_anomalous
    with refused("INTERNAL", "foreign/mochi: its process was ended by SIGABRT (aborted)"):
        client.detect("foreign", TRIGGER)
    assert client.describe("foreign").status == wire.FAILED
    client.start_and_wait("foreign")
    assert client.detect("foreign", RED).is_anomalous
    assert client.stop("foreign") == wire.STOPPED
    (models / "foreign" / "mochi" / "libdlr.so").unlink()
    message = client.start_and_wait("foreign", wire.FAILED).status_message
    assert "takes Neo's own runtime, and there is no libdlr.so beside the model" in message
    assert child_processes() == []


def test_calls_that_wait_when_a_model_dies_all_end(models: Path, client: Client) -> None:
    make_neo_package(models / "foreign", mood="abort")
    client.start_and_wait("foreign")
    calls = [client.stub.DetectAnomalies.future(byte_request("foreign", TRIGGER), timeout=30) for _ in range(6)]
    for call in calls:
        assert call.exception(timeout=30).code() in (grpc.StatusCode.INTERNAL, grpc.StatusCode.FAILED_PRECONDITION)
    assert client.describe("foreign").status == wire.FAILED
    client.start_and_wait("foreign")
    assert client.detect("foreign", RED).is_anomalous


@pytest.mark.parametrize("notice", ["by a call", "by a question", "by a start"])
def test_a_kill_from_outside(models: Path, client: Client, refused: Any, notice: str) -> None:
    make_neo_package(models / "foreign")
    client.start_and_wait("bolts")
    client.start_and_wait("foreign")
    victim = child().pid
    os.kill(victim, signal.SIGKILL)
    os.waitid(os.P_PID, victim, os.WEXITED | os.WNOWAIT)  # all of it is dead, and the server has not noticed
    if notice == "by a call":
        with refused("INTERNAL", "its process was ended by SIGKILL (killed)"):
            client.detect("foreign", GREY)
    if notice != "by a start":
        described = client.describe("foreign")
        assert (described.status, "SIGKILL" in described.status_message) == (wire.FAILED, True)
    assert client.detect("bolts", RED).is_anomalous
    client.start_and_wait("foreign")
    assert client.detect("foreign", RED).is_anomalous


def test_an_operator_that_fails_leaves_the_model_running(models: Path, client: Client, refused: Any) -> None:
    make_neo_package(models / "foreign", mood="fail")
    client.start_and_wait("foreign")
    with refused("INTERNAL", "fused_mask failed (the conveyor is on strike)"):
        client.detect("foreign", TRIGGER)
    assert client.detect("foreign", RED).is_anomalous


def test_a_crash_while_starting_is_failed_with_its_reason(models: Path, client: Client) -> None:
    make_neo_package(models / "foreign", mood="abort at once")
    assert "was ended by SIGABRT" in client.start_and_wait("foreign", wire.FAILED).status_message
    assert child_processes() == []
