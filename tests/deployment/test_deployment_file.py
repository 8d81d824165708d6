"""The deployment's file, the request made of it, and what is shown of the difference."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict

import botocore.session
import pytest
from botocore.validate import ParamValidator

from edge_agent.deployment.diff import differences, kept
from edge_agent.deployment.request import carried_over, revise
from edge_agent.deployment.settings import DeploymentSettings, parse_deployment, read_deployment
from edge_agent.errors import ConfigError

WHOLE: Dict[str, Any] = {
    "name": "Line 4",
    "components": {
        "com.edgeagent.Inspector": {
            "version": "0.1.0",
            "reset": ["/lanes/old", ""],
            "merge": {"lanes": {"line-1": {"model": "bolts", "buffer": {"size": 2}}}},
            "run_with": {"posix_user": "ggc_user:ggc_group", "memory_kb": 512000, "cpus": "1.5"},
        }
    },
    "remove": ["com.example.Old"],
    "on_failure": "ROLLBACK",
    "update": {"action": "SKIP_NOTIFY_COMPONENTS", "timeout_s": 90},
    "validation_timeout_s": 30,
    "rollout": {
        "maximum_per_minute": 50,
        "exponential": {"base_per_minute": 5, "increment_factor": 2, "after_succeeded": 10},
    },
    "abort": [{"failure_type": "FAILED", "percentage": 20, "minimum": 5}],
    "device_timeout_min": 60,
}
CURRENT: Dict[str, Any] = {
    "targetArn": "arn:aws:iot:eu-central-1:123456789012:thinggroup/press",
    "deploymentId": "d",
    "revisionId": "1",
    "deploymentName": "Before",
    "components": {
        "com.example.Other": {"componentVersion": "3.2.1", "configurationUpdate": {"merge": '{"a": 1}'}},
        "com.example.Old": {"componentVersion": "1.0.0"},
        "com.edgeagent.Inspector": {
            "componentVersion": "0.0.9",
            "configurationUpdate": {"merge": '{"camera": {"url": "rtsp://me:secret@host/1"}, "keep": true}'},
            "runWith": {"posixUser": "old"},
        },
    },
    "deploymentPolicies": {"failureHandlingPolicy": "DO_NOTHING"},
    "iotJobConfiguration": {"timeoutConfig": {"inProgressTimeoutInMinutes": 5}},
    "tags": {"line": "4"},
}


def _valid(request: Dict[str, Any]) -> Dict[str, Any]:
    model = botocore.session.Session().get_service_model("greengrassv2").operation_model("CreateDeployment")
    whole = {"targetArn": CURRENT["targetArn"], **request}
    report = ParamValidator().validate(whole, model.input_shape)
    assert not report.has_errors(), report.generate_report()
    return request


def test_everything_the_file_can_say_reaches_the_request() -> None:
    request = _valid(revise({}, parse_deployment(WHOLE, "file"), "file"))
    assert request == {
        "deploymentName": "Line 4",
        "components": {
            "com.edgeagent.Inspector": {
                "componentVersion": "0.1.0",
                "configurationUpdate": {
                    "merge": '{"lanes": {"line-1": {"model": "bolts", "buffer": {"size": 2}}}}',
                    "reset": ["/lanes/old", ""],
                },
                "runWith": {
                    "posixUser": "ggc_user:ggc_group",
                    "systemResourceLimits": {"memory": 512000, "cpus": 1.5},
                },
            }
        },
        "deploymentPolicies": {
            "failureHandlingPolicy": "ROLLBACK",
            "componentUpdatePolicy": {"action": "SKIP_NOTIFY_COMPONENTS", "timeoutInSeconds": 90},
            "configurationValidationPolicy": {"timeoutInSeconds": 30},
        },
        "iotJobConfiguration": {
            "jobExecutionsRolloutConfig": {
                "maximumPerMinute": 50,
                "exponentialRate": {
                    "baseRatePerMinute": 5,
                    "incrementFactor": 2.0,
                    "rateIncreaseCriteria": {"numberOfSucceededThings": 10},
                },
            },
            "abortConfig": {
                "criteriaList": [
                    {
                        "failureType": "FAILED",
                        "action": "CANCEL",
                        "thresholdPercentage": 20.0,
                        "minNumberOfExecutedThings": 5,
                    }
                ]
            },
            "timeoutConfig": {"inProgressTimeoutInMinutes": 60},
        },
    }


def test_what_the_file_does_not_name_stays() -> None:
    base = carried_over(CURRENT)
    settings = parse_deployment({"components": {"com.edgeagent.Inspector": {"version": "0.1.0"}}}, "file")
    request = _valid(revise(base, settings, "file"))
    assert differences(base, request) == [
        '~ components.com.edgeagent.Inspector.componentVersion: "0.0.9" -> "0.1.0"',
    ]
    assert kept(base, request) == ["com.example.Old 1.0.0", "com.example.Other 3.2.1"]
    assert request["tags"] == {"line": "4"}
    assert base == carried_over(CURRENT)


def test_a_version_may_be_left_open_for_what_is_there_alone() -> None:
    entry = {"components": {"com.example.Other": {"merge": {"a": 2}}}}
    request = revise(carried_over(CURRENT), parse_deployment(entry, "file"), "file")
    assert request["components"]["com.example.Other"]["componentVersion"] == "3.2.1"
    with pytest.raises(ConfigError, match=r"file: components.com.example.Other.version: is missing"):
        revise({}, parse_deployment(entry, "file"), "file")


def test_components_go_when_they_are_named_only() -> None:
    base = carried_over(CURRENT)
    request = _valid(
        revise(base, parse_deployment({"remove": ["com.example.Old", "com.example.Gone"]}, "file"), "file")
    )
    assert differences(base, request) == ['- components.com.example.Old.componentVersion: "1.0.0"']


def test_empty_maps_take_configuration_and_limits_away() -> None:
    base = carried_over(CURRENT)
    entry = {"com.edgeagent.Inspector": {"merge": {}, "run_with": {}}}
    request = _valid(revise(base, parse_deployment({"components": entry, "abort": []}, "file"), "file"))
    assert request["components"]["com.edgeagent.Inspector"] == {"componentVersion": "0.0.9"}
    assert request["iotJobConfiguration"] == CURRENT["iotJobConfiguration"]


def test_a_merge_is_compared_by_its_values_and_shown_without_passwords() -> None:
    base = carried_over(CURRENT)
    entry = {"com.edgeagent.Inspector": {"merge": {"keep": True, "camera": {"url": "rtsp://you:other@host/1", "n": 1}}}}
    lines = differences(base, revise(base, parse_deployment({"components": entry}, "file"), "file"))
    path = "components.com.edgeagent.Inspector.configurationUpdate.merge"
    assert lines == [
        f"+ {path}.camera.n: 1",
        f'~ {path}.camera.url: "rtsp://host/1" -> "rtsp://host/1"',
    ]
    same = {"com.edgeagent.Inspector": {"merge": {"keep": True, "camera": {"url": "rtsp://me:secret@host/1"}}}}
    assert differences(base, revise(base, parse_deployment({"components": same}, "file"), "file")) == []


def _component(**keys: Any) -> Dict[str, Any]:
    return {"components": {"com.example.A": {"version": "1.0.0", **keys}}}


FAULTS = [
    ({}, "components"),
    ({"components": []}, "components"),
    ({"component": {}}, "component"),
    (_component(versions="1"), "components.com.example.A.versions"),
    (_component(version="1.0"), "components.com.example.A.version"),
    (_component(version="01.0.0"), "components.com.example.A.version"),
    (_component(reset=["a"]), "components.com.example.A.reset"),
    (_component(merge=["a"]), "components.com.example.A.merge"),
    (_component(merge={"a": {"b": "x" * 1100}}), "components.com.example.A.merge.a.b"),
    (_component(merge={"a": {1: 2}}), "components.com.example.A.merge.a.1"),
    (_component(merge={"a": {1, 2}}), "components.com.example.A.merge.a"),
    (_component(merge={"a": float("nan")}), "components.com.example.A.merge.a"),
    (_component(run_with={"posix_user": "a b"}), "components.com.example.A.run_with.posix_user"),
    (_component(run_with={"memory_kb": -1}), "components.com.example.A.run_with.memory_kb"),
    ({"components": {"bad name": {"version": "1.0.0"}}}, "components.bad name"),
    ({**_component(), "remove": ["com.example.A"]}, "components.com.example.A"),
    ({**_component(), "remove": ["a/b"]}, "remove.a/b"),
    ({**_component(), "on_failure": "STOP"}, "on_failure"),
    ({**_component(), "update": {"timeout_s": 0}}, "update.timeout_s"),
    ({**_component(), "name": ""}, "name"),
    ({**_component(), "rollout": {"maximum_per_minute": 1001}}, "rollout.maximum_per_minute"),
    (
        {**_component(), "rollout": {"exponential": {"base_per_minute": 1, "increment_factor": 1}}},
        "rollout.exponential",
    ),
    (
        {
            **_component(),
            "rollout": {"exponential": {"base_per_minute": 1, "increment_factor": 6, "after_notified": 1}},
        },
        "rollout.exponential.increment_factor",
    ),
    ({**_component(), "abort": [{"failure_type": "ALL", "percentage": 0, "minimum": 1}]}, "abort[0].percentage"),
    ({**_component(), "device_timeout_min": 0}, "device_timeout_min"),
]


@pytest.mark.parametrize(("data", "path"), FAULTS, ids=[path for _, path in FAULTS])
def test_what_is_wrong_is_named_by_its_path(data: Dict[str, Any], path: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_deployment(data, "file")
    assert caught.value.subject == f"file: {path}"


def test_the_documented_file_is_read() -> None:
    page = (Path(__file__).parents[2] / "docs/deploy.md").read_text()
    for block in page.split("```yaml\n")[1:]:
        import yaml

        settings = parse_deployment(yaml.safe_load(block.split("```")[0]), "docs/deploy.md")
        _valid(revise(carried_over(CURRENT), settings, "docs/deploy.md"))


def test_the_example_file_makes_a_deployment() -> None:
    settings = read_deployment(Path(__file__).parents[2] / "recipe/deployment.yaml")
    assert isinstance(settings, DeploymentSettings)
    assert set(_valid(revise({}, settings, "file"))["components"]) == {
        "com.edgeagent.Inspector",
        "com.edgeagent.ModelServer",
    }
