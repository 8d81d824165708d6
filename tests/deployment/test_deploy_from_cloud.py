"""`edge-agent deploy` with AWS's answers on the loopback interface."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Callable, Dict, List

import pytest
from cli.conftest import Done
from support.aws_loopback import ACCOUNT, Cloud, RefusalError

Command = Callable[..., Done]

pytestmark = pytest.mark.filterwarnings("ignore:Boto3 will no longer support Python")

INSPECTOR = "com.edgeagent.Inspector"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write(tmp_path, {"components": {INSPECTOR: {"version": "0.1.0", "merge": {"publish": {"qos": 1}}}}})


def write(directory: Path, document: Dict[str, Any]) -> Path:
    path = directory / "deployment.json"
    path.write_text(json.dumps(document))
    return path


def before(cloud: Cloud, target: str, **components: str) -> None:
    """A deployment that the target has already."""
    cloud.create_deployment(
        f"{ACCOUNT}:{target}",
        "token",
        components={name.replace("_", "."): {"componentVersion": version} for name, version in components.items()},
        tags={"line": "4"},
    )


def after_looks(cloud: Cloud, operation: str, steps: List[Callable[[], None]]) -> None:
    """Something happens whenever the operation is asked for."""

    def on_request(name: str) -> None:
        if name == operation and steps:
            steps.pop(0)()

    cloud.on_request = on_request


def test_a_thing_without_a_deployment_gets_one_and_is_waited_for(command: Command, cloud: Cloud, file: Path) -> None:
    cloud.things = ["press-4"]

    def state(status: str) -> Callable[[], None]:
        return lambda: cloud.executions.update({"press-4": {"coreDeviceExecutionStatus": status}})

    after_looks(
        cloud, "list_effective_deployments", [lambda: None, state("IN_PROGRESS"), lambda: None, state("SUCCEEDED")]
    )
    done = command("deploy", "--thing", "press-4", "--file", str(file), "--yes")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines() == [
        "thing press-4: has no deployment yet",
        f'  + components.{INSPECTOR}.componentVersion: "0.1.0"',
        f"  + components.{INSPECTOR}.configurationUpdate.merge.publish.qos: 1",
        "deployment deployment-1",
        "press-4: QUEUED",
        "press-4: IN_PROGRESS",
        "press-4: SUCCEEDED",
        "COMPLETED on 1 core device(s)",
    ]
    [request] = cloud.asked("create_deployment")
    assert request["targetArn"] == f"{ACCOUNT}:thing/press-4"


def test_other_components_stay_and_a_person_is_asked(
    command: Command, cloud: Cloud, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud.groups = {"press": ["a"]}
    before(cloud, "thinggroup/press", com_example_Other="3.2.1")
    monkeypatch.setattr("click.termui.visible_prompt_func", lambda _text: "n")
    refused = command("deploy", "--thing-group", "press", "--file", str(file), "--no-wait")
    assert refused.code == 130
    assert cloud.asked("create_deployment") == []
    monkeypatch.setattr("click.termui.visible_prompt_func", lambda _text: "y")
    done = command("deploy", "--thing-group", "press", "--file", str(file), "--no-wait")
    assert done.code == 0
    assert "thing group press: deployment deployment-1, revision 1, ACTIVE\n" in done.out
    assert "  stays as it is: com.example.Other 3.2.1\n" in done.out
    [request] = cloud.asked("create_deployment")
    assert set(request["components"]) == {INSPECTOR, "com.example.Other"}
    assert request["tags"] == {"line": "4"}


def test_a_dry_run_changes_nothing(command: Command, cloud: Cloud, file: Path) -> None:
    cloud.things = ["press-4"]
    done = command("deploy", "--thing", "press-4", "--file", str(file), "--dry-run")
    assert done.code == 0
    assert cloud.asked("create_deployment") == []


def test_a_revision_by_somebody_else_meanwhile_is_not_overwritten(command: Command, cloud: Cloud, file: Path) -> None:
    cloud.things = ["press-4"]
    other = [lambda: None, lambda: before(cloud, "thing/press-4", com_example_Other="1.0.0")]
    after_looks(cloud, "list_deployments", other)
    done = command("deploy", "--thing", "press-4", "--file", str(file), "--yes")
    assert done.code == 1
    assert done.err == "error: thing press-4: was revised by somebody else meanwhile. Run the command again.\n"
    assert cloud.asked("create_deployment") == []


def test_a_group_says_which_device_failed_and_why(command: Command, cloud: Cloud, file: Path) -> None:
    cloud.groups = {"press": ["a", "b", "c"]}
    cloud.executions = {
        "b": {
            "coreDeviceExecutionStatus": "FAILED",
            "reason": "Component com.edgeagent.Inspector broken.",
            "statusDetails": {"errorStack": ["COMPONENT_BROKEN", "RUN_ERROR"], "errorTypes": ["USER_COMPONENT_ERROR"]},
        }
    }
    # A phone in the same group is no core device: it never answers, and is not waited for.
    cloud.jobs = {"job-1": {"phone": "QUEUED", "a": "SUCCEEDED"}}
    after_looks(
        cloud,
        "list_job_executions_for_job",
        [
            lambda: None,
            lambda: cloud.jobs["job-1"].update(b="FAILED"),
            lambda: cloud.jobs["job-1"].update(c="SUCCEEDED"),
        ],
    )
    done = command("deploy", "--thing-group", "press", "--file", str(file), "--yes")
    assert done.code == 1
    failure = "b: FAILED: Component com.edgeagent.Inspector broken. (COMPONENT_BROKEN, RUN_ERROR)"
    lines = done.out.splitlines()
    assert lines[-3:] == [failure, "c: SUCCEEDED"] or failure in lines
    assert lines.count(failure) == 1
    assert "c: SUCCEEDED" in lines
    assert not any(line.startswith("phone") for line in lines)
    assert done.err == "1 failed, 2 done\n"


def test_a_group_without_core_devices_says_so(command: Command, cloud: Cloud, file: Path) -> None:
    cloud.groups = {"press": []}
    done = command("deploy", "--thing-group", "press", "--file", str(file), "--yes")
    assert done.code == 0
    assert done.out.endswith("has no core device now; those that join later get the deployment\n")


def test_a_device_that_is_silent_is_named_at_the_end_of_the_time(command: Command, cloud: Cloud, file: Path) -> None:
    cloud.groups = {"press": ["a", "b"]}
    cloud.jobs = {"job-1": {"a": "SUCCEEDED", "b": "QUEUED"}}
    done = command("deploy", "--thing-group", "press", "--file", str(file), "--yes", "--timeout", "0.1")
    assert done.code == 1
    assert "is not done after 0.1 s: waiting: b QUEUED (UNHEALTHY, last heard of 2026-01-01T00:00:00" in done.err
    assert " a " not in done.err


def test_the_same_file_again_waits_for_what_is_on_its_way(command: Command, cloud: Cloud, file: Path) -> None:
    cloud.things = ["press-4"]
    assert command("deploy", "--thing", "press-4", "--file", str(file), "--yes", "--no-wait").code == 0
    cloud.executions = {"press-4": {"coreDeviceExecutionStatus": "COMPLETED"}}
    done = command("deploy", "--thing", "press-4", "--file", str(file))
    assert done.code == 0
    assert "  nothing changes\n" in done.out
    assert len(cloud.asked("create_deployment")) == 1


@pytest.mark.parametrize("status", ["CANCELED", "INACTIVE"])
def test_a_deployment_that_is_taken_back_ends_the_wait(command: Command, cloud: Cloud, file: Path, status: str) -> None:
    cloud.things = ["press-4"]
    take_back = [lambda: cloud.deployments[-1].update(deploymentStatus=status)]
    after_looks(cloud, "get_deployment", take_back)
    done = command("deploy", "--thing", "press-4", "--file", str(file), "--yes")
    assert (done.code, f"is {status}" in done.err) == (1, True)


def test_a_thing_whose_deployment_failed_as_a_whole(command: Command, cloud: Cloud, file: Path) -> None:
    cloud.things = ["press-4"]
    after_looks(cloud, "get_deployment", [lambda: cloud.deployments[-1].update(deploymentStatus="FAILED")])
    done = command("deploy", "--thing", "press-4", "--file", str(file), "--yes")
    assert done.code == 1
    assert "press-4: FAILED: the device gave no reason" in done.out


def test_an_outage_while_waiting_is_waited_for(command: Command, cloud: Cloud, file: Path) -> None:
    cloud.things = ["press-4"]
    cloud.executions = {"press-4": {"coreDeviceExecutionStatus": "SUCCEEDED"}}

    def refuse() -> None:
        raise RefusalError(429, "ThrottlingException", "Slow down.")

    after_looks(cloud, "list_effective_deployments", [refuse, refuse])
    done = command("deploy", "--thing", "press-4", "--file", str(file), "--yes")
    assert done.code == 0
    assert done.out.count("waiting: core device press-4: Slow down. [ThrottlingException]") == 1


def test_a_refusal_names_what_prints_the_rights(command: Command, cloud: Cloud, file: Path) -> None:
    cloud.things = ["press-4"]

    def refuse() -> None:
        raise RefusalError(403, "AccessDeniedException", "User is not authorized.")

    after_looks(cloud, "create_deployment", [refuse])
    done = command("deploy", "--thing", "press-4", "--file", str(file), "--yes")
    assert done.code == 1
    assert "User is not authorized. [AccessDeniedException]. `edge-agent deploy iam --role deployer`" in done.err


def test_targets_that_are_not_there(command: Command, cloud: Cloud, file: Path) -> None:
    for option in ("--thing", "--thing-group"):
        done = command("deploy", option, "none", "--file", str(file))
        assert (done.code, "[ResourceNotFoundException]" in done.err) == (1, True)


def test_no_answer_at_all_is_one_line(
    command: Command, cloud: Cloud, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_IOT", "http://127.0.0.1:9")
    done = command("deploy", "--thing", "press-4", "--file", str(file))
    assert done.code == 1
    assert done.err.count("\n") == 1
    assert "Could not connect" in done.err


def test_no_region_and_no_boto3(command: Command, cloud: Cloud, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    done = command("deploy", "--thing", "press-4", "--file", str(file))
    assert (done.code, "You must specify a region" in done.err) == (1, True)
    monkeypatch.setitem(sys.modules, "boto3", None)
    done = command("deploy", "--thing", "press-4", "--file", str(file))
    assert (done.code, "edge-agent[aws]" in done.err) == (1, True)


@pytest.mark.parametrize("arguments", [[], ["--thing", "a", "--local"], ["--thing", "a"]])
def test_wrong_arguments(command: Command, arguments: List[str]) -> None:
    assert command("deploy", *arguments).code == 2
