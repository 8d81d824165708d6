"""Jobs over crashes and between processes: tokens, twins, quota, who runs a job and what becomes of one that lost it."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Callable, Dict, List

import psutil
import pytest
from support.packaging import PROJECT, make_registry, open_state, recipe_of, start_request

from edge_agent.clock import SystemClock
from edge_agent.errors import (
    ConflictError,
    PackagingError,
    ResourceNotFoundError,
    ServiceQuotaExceededError,
    ValidationError,
)
from edge_agent.packaging.jobs.api import LocalService
from edge_agent.packaging.jobs.job import CREATED, FAILED, RUNNING, SUCCEEDED, Settings
from edge_agent.packaging.jobs.locks import JobLocks
from edge_agent.packaging.jobs.registry import ModelRegistry
from edge_agent.packaging.jobs.store import MAX_UNFINISHED, TOKEN_SECONDS, JobStore
from edge_agent.packaging.jobs.worker import Worker

_SLOW = 3000  # convolutions: seconds of warm-up


class _Watch(SystemClock):
    """A clock whose wall time is set by hand."""

    seconds = 1_700_000_000.0

    def wall_ns(self) -> int:
        return int(self.seconds * 1e9)


def _service(directory: Path, store: JobStore) -> LocalService:
    settings = Settings(str(directory / "registry"), (directory / "buckets").as_uri(), "open")
    return LocalService(store, JobLocks(directory / "state"), ModelRegistry(directory / "registry"), settings)


def _describe(service: LocalService, name: str) -> Dict[str, Any]:
    details: Dict[str, Any] = service.describe({"ProjectName": PROJECT, "JobName": name})["ModelPackagingDescription"]
    return details


def _wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_job_goes_from_created_to_succeeded_and_every_word_of_it_is_kept(tmp_path: Path) -> None:
    make_registry(tmp_path / "registry", 1, 2, 10)
    request = start_request(Tags=[{"Key": "line", "Value": "3"}])
    request.update(ModelVersion="latest", JobName="first", Description="the first one")
    place = open_state(tmp_path)
    assert place.service.start(request) == {"JobName": "first"}
    assert _describe(place.service, "first")["Status"] == CREATED
    place.worker(threading.Event()).work()

    details = _describe(open_state(tmp_path).service, "first")
    created, updated = details.pop("CreationTimestamp"), details.pop("LastUpdatedTimestamp")
    assert created < updated
    assert "Written: " in details.pop("StatusMessage")
    assert details == {
        "JobName": "first",
        "ProjectName": PROJECT,
        "ModelVersion": "10",
        "ModelPackagingJobDescription": "the first one",
        "ModelPackagingMethod": "GREENGRASS",
        "Status": SUCCEEDED,
        "ModelPackagingConfiguration": {
            "Greengrass": {**request["Configuration"]["Greengrass"], "ComponentVersion": "10.0.0"}
        },
        "ModelPackagingOutputDetails": {
            "Greengrass": {
                "ComponentVersionArn": "arn:aws:greengrass:local:aws:components:com.example.Bolts:versions:10.0.0",
                "ComponentName": "com.example.Bolts",
                "ComponentVersion": "10.0.0",
            }
        },
    }
    assert recipe_of(tmp_path, version="10.0.0")["ComponentVersion"] == "10.0.0"
    assert list((tmp_path / "state" / "locks").iterdir()) == []


def test_a_job_imports_nothing_from_the_directory_it_was_started_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_registry(tmp_path / "registry")
    (tmp_path / "numpy.py").write_text("raise SystemExit('somebody else is here')")
    place = open_state(tmp_path)
    name = place.service.start(start_request())["JobName"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    place.worker(threading.Event()).work()
    assert _describe(place.service, name)["Status"] == SUCCEEDED


def test_a_job_that_cannot_be_done_fails_with_the_reason_and_frees_its_version(tmp_path: Path) -> None:
    make_registry(tmp_path / "registry")
    model = tmp_path / "registry" / PROJECT / "1" / "model"
    (model / "manifest.json").write_text("{}")
    place = open_state(tmp_path)
    name = place.service.start(start_request())["JobName"]
    place.worker(threading.Event()).work()
    details = _describe(place.service, name)
    assert details["Status"] == FAILED
    assert "model_graph" in details["StatusMessage"]
    assert "ModelPackagingOutputDetails" not in details
    shutil.rmtree(model)
    make_registry(tmp_path / "registry")
    assert place.service.start(start_request())["JobName"] != name


def test_a_token_stands_for_its_request_for_eight_hours(tmp_path: Path) -> None:
    make_registry(tmp_path / "registry")
    clock = _Watch()
    service = _service(tmp_path, JobStore(tmp_path / "state", clock))
    request = {**start_request(), "ClientToken": "t"}
    name = service.start(request)["JobName"]
    clock.seconds += TOKEN_SECONDS - 1
    make_registry(tmp_path / "registry", 2)
    assert service.start(request)["JobName"] == name
    with pytest.raises(ConflictError, match="ClientToken t: was used for another request") as caught:
        service.start({**request, "Description": "another"})
    assert caught.value.resource == ("MODEL_PACKAGE_JOB", name)
    clock.seconds += 1
    with pytest.raises(ConflictError, match="A version cannot be made twice"):  # it is a new request now
        service.start(request)
    other = start_request(ComponentVersion="1.0.1")
    assert service.start({**other, "ClientToken": "t"})["JobName"] != name


def test_names_and_component_versions_are_taken_once(tmp_path: Path) -> None:
    make_registry(tmp_path / "registry")
    service = open_state(tmp_path).service
    service.start({**start_request(), "JobName": "one"})
    with pytest.raises(ConflictError, match="JobName one: is a job of project bolts already"):
        service.start({**start_request(ComponentVersion="2.0.0"), "JobName": "one"})
    with pytest.raises(
        ConflictError, match=r"ComponentVersion 1.0.0: of component com.example.Bolts was made by job one"
    ):
        service.start(start_request())


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    make_registry(tmp_path / "registry")
    (tmp_path / "registry" / PROJECT / "3").mkdir()
    service = open_state(tmp_path).service
    for members, said, resource in (
        ({"ProjectName": "nuts"}, "ProjectName nuts", ("PROJECT", "nuts")),
        ({"ModelVersion": "2"}, "ModelVersion 2: is none of the versions in .*: 1, 3", ("MODEL", "bolts/2")),
    ):
        with pytest.raises(ResourceNotFoundError, match=said) as caught:
            service.start({**start_request(), **members})
        assert caught.value.resource == resource
    with pytest.raises(ConflictError, match="holds 0 models"):
        service.start({**start_request(), "ModelVersion": "3"})
    with pytest.raises(ResourceNotFoundError, match="JobName x: is no packaging job"):
        service.describe({"ProjectName": PROJECT, "JobName": "x"})
    with pytest.raises(ResourceNotFoundError, match="ProjectName nuts"):
        service.list({"ProjectName": "nuts"})


def test_a_list_comes_in_pages_the_newest_first(tmp_path: Path) -> None:
    make_registry(tmp_path / "registry")
    service = open_state(tmp_path).service
    for number in range(5):
        service.start({**start_request(ComponentVersion=f"1.0.{number}"), "JobName": f"job-{number}"})
    seen: List[str] = []
    request: Dict[str, Any] = {"ProjectName": PROJECT, "MaxResults": 2}
    while True:
        page = service.list(request)
        seen += [entry["JobName"] for entry in page["ModelPackagingJobs"]]
        if "NextToken" not in page:
            break
        request["NextToken"] = page["NextToken"]
    assert seen == [f"job-{number}" for number in (4, 3, 2, 1, 0)]
    for token in ("x", "YmVmb3JlOg==", "YWZ0ZXI6MQ=="):
        with pytest.raises(ValidationError, match="NextToken: is none that a list of ours ended with"):
            service.list({"ProjectName": PROJECT, "NextToken": token})


def test_so_many_jobs_may_wait_and_no_more(tmp_path: Path) -> None:
    make_registry(tmp_path / "registry")
    service = open_state(tmp_path).service
    for number in range(MAX_UNFINISHED):
        service.start(start_request(ComponentVersion=f"1.0.{number}"))
    with pytest.raises(ServiceQuotaExceededError, match="100 jobs are not finished"):
        service.start(start_request(ComponentVersion="2.0.0"))


def _command(directory: Path, *arguments: str) -> List[str]:
    return [
        *(sys.executable, "-m", "edge_agent", "packaging", "start"),
        *("--state", str(directory / "state"), "--registry", str(directory / "registry")),
        *("--buckets", (directory / "buckets").as_uri(), "--cli-input-json", json.dumps(start_request())),
        *arguments,
    ]


def test_processes_that_start_the_same_at_once_start_one_job(tmp_path: Path) -> None:
    make_registry(tmp_path / "registry")
    command = _command(tmp_path, "--no-wait", "--client-token", "same")
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(3)]
    answers = {process.communicate(timeout=60)[0] for process in processes}
    assert [process.returncode for process in processes] == [0] * 3
    assert len(answers) == 1
    assert len(open_state(tmp_path).service.list({"ProjectName": PROJECT})["ModelPackagingJobs"]) == 1


def test_workers_at_once_do_each_job_once(tmp_path: Path) -> None:
    make_registry(tmp_path / "registry")
    places = [open_state(tmp_path) for _ in range(2)]
    for number in range(2):
        places[0].service.start(start_request(ComponentVersion=f"1.0.{number}"))
    threads = [threading.Thread(target=place.worker(threading.Event()).work) for place in places]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store = JobStore(tmp_path / "state")
    assert [store.get(number).status for number in (1, 2)] == [SUCCEEDED, SUCCEEDED]
    assert [store.get(number).attempts for number in (1, 2)] == [1, 1]


def _running(directory: Path, work: int = _SLOW) -> "tuple[subprocess.Popen[bytes], psutil.Process]":
    """`packaging start` of a slow model, and the process that does the job, in the middle of it."""
    make_registry(directory / "registry", work=work)
    # A shell's background jobs ignore Ctrl-C, and so would their children's children.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(_command(directory), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    signal.signal(signal.SIGINT, before)
    store = JobStore(directory / "state")
    _wait(lambda: bool(store.unfinished(RUNNING)) and bool(psutil.Process(process.pid).children()))
    return process, psutil.Process(process.pid).children()[0]


def _make_quick(directory: Path) -> None:
    shutil.rmtree(directory / "registry")
    make_registry(directory / "registry")


def test_a_job_whose_processes_were_killed_is_taken_up_again(tmp_path: Path) -> None:
    process, child = _running(tmp_path)
    process.kill()
    process.communicate()
    child.kill()
    place = open_state(tmp_path)
    name = JobStore(tmp_path / "state").get(1).name
    _wait(lambda: _describe(place.service, name)["Status"] == CREATED)
    assert "it is taken up again" in _describe(place.service, name)["StatusMessage"]
    _make_quick(tmp_path)
    place.worker(threading.Event()).work()
    assert _describe(place.service, name)["Status"] == SUCCEEDED
    assert JobStore(tmp_path / "state").get(1).attempts == 2


def test_a_job_whose_own_process_dies_fails_and_says_how(tmp_path: Path) -> None:
    process, child = _running(tmp_path)
    child.kill()
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert b"FAILED: Its process was ended by SIGKILL. See " in said
    assert b"Traceback" not in said


def test_a_worker_that_dies_alone_leaves_its_job_to_be_finished(tmp_path: Path) -> None:
    process, child = _running(tmp_path, work=600)
    process.kill()
    process.communicate()
    place = open_state(tmp_path)
    name = JobStore(tmp_path / "state").get(1).name
    assert _describe(place.service, name)["Status"] == RUNNING  # not taken for dead
    child.wait(60)
    assert _describe(place.service, name)["Status"] == SUCCEEDED


def test_an_interrupted_start_ends_its_job_and_leaves_it_to_the_next(tmp_path: Path) -> None:
    process, child = _running(tmp_path)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said.strip()) == (130, b"error: interrupted")
    assert not child.is_running()
    job = JobStore(tmp_path / "state").get(1)
    assert (job.status, job.attempts) == (CREATED, 0)


def test_a_job_is_not_taken_up_for_ever(tmp_path: Path) -> None:
    make_registry(tmp_path / "registry")
    place = open_state(tmp_path)
    name = place.service.start(start_request())["JobName"]
    store, states = JobStore(tmp_path / "state"), []
    for _ in range(3):
        assert store.begin(1)  # as a process does that then dies: nobody holds the lock
        states.append(_describe(place.service, name)["Status"])
    assert states == [CREATED, CREATED, FAILED]
    assert "died 3 times" in _describe(place.service, name)["StatusMessage"]


def test_a_job_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    make_registry(tmp_path / "registry", work=_SLOW)
    place = open_state(tmp_path)
    name = place.service.start(start_request())["JobName"]
    Worker(tmp_path / "state", JobStore(tmp_path / "state"), threading.Event(), job_seconds=0.5).work()
    details = _describe(place.service, name)
    assert (details["Status"], details["StatusMessage"]) == (FAILED, "It took more than 0.5 seconds and was ended.")


def test_state_that_cannot_be_used_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PackagingError, match="cannot be made"):
        JobStore(tmp_path / "file" / "state")
    (tmp_path / "jobs.sqlite3").write_bytes(b"no database at all" * 100)
    with pytest.raises(PackagingError, match="file is not a database"):
        JobStore(tmp_path)
    (tmp_path / "jobs.sqlite3").unlink()
    with JobStore(tmp_path)._database.transaction() as connection:
        connection.execute("PRAGMA user_version = 9")
    with pytest.raises(PackagingError, match="is of form 9, not 1"):
        JobStore(tmp_path)


def test_the_state_is_for_its_user_alone(tmp_path: Path) -> None:
    make_registry(tmp_path / "registry")
    open_state(tmp_path)
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
