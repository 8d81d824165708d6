"""The policies that `edge-agent deploy iam` prints: IAM's grammar, actions that exist, no more than the code asks for."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Callable, Dict, List, Set

import botocore.session
import jsonschema
import pytest
from cli.conftest import Done

from edge_agent.deployment.iam import ROLES, Scope

# The part of IAM's policy grammar that an identity's policy of allowing statements uses.
GRAMMAR: Dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["Version", "Statement"],
    "properties": {
        "Version": {"const": "2012-10-17"},
        "Statement": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["Effect", "Action", "Resource"],
                "properties": {
                    "Effect": {"const": "Allow"},
                    "Action": {
                        "type": "array",
                        "minItems": 1,
                        "uniqueItems": True,
                        "items": {"type": "string", "pattern": "^[a-z0-9-]+:[A-Z][A-Za-z]+$"},
                    },
                    "Resource": {
                        "type": "array",
                        "minItems": 1,
                        "uniqueItems": True,
                        "items": {
                            "type": "string",
                            "pattern": r"^(\*|arn:aws(-cn|-us-gov)?:[a-z0-9-]+:[A-Za-z0-9-]*:[A-Za-z0-9]*:[^\s]+)$",
                        },
                    },
                },
            },
        },
    },
}

# Which of botocore's services have the operations behind a prefix of IAM's actions.
SERVICES = {"greengrass": ["greengrassv2"], "iot": ["iot", "iot-data"], "s3": ["s3"]}


def _actions(policy: Dict[str, Any]) -> List[str]:
    return [action for statement in policy["Statement"] for action in statement["Action"]]


@pytest.mark.parametrize("role", list(ROLES))
def test_policies_follow_the_grammar_and_name_actions_that_exist(role: str) -> None:
    scope = Scope(region="eu-central-1", account="123456789012", bucket="parts", prefix="a/b", upload_bucket="images")
    policy = ROLES[role](scope)
    jsonschema.validate(policy, GRAMMAR)
    session = botocore.session.Session()
    for action in _actions(policy):
        prefix, name = action.split(":")
        known: Set[str] = {
            operation
            for service in SERVICES[prefix]
            for operation in session.get_service_model(service).operation_names
        }
        assert name in known, action
    assert len(_actions(policy)) == len(set(_actions(policy)))


def test_every_call_of_the_deployer_is_allowed_to_it() -> None:
    source = (Path(__file__).parents[2] / "edge_agent/deployment/cloud.py").read_text()
    called = set(re.findall(r"self\._(greengrass|iot)\.([a-z_]+)", source))
    assert len(called) > 5
    allowed = set(_actions(ROLES["deployer"](Scope())))
    for service, name in called:
        assert f"{service}:{''.join(word.title() for word in name.split('_'))}" in allowed


def test_star_resources_stand_only_where_the_service_knows_no_other() -> None:
    for make in ROLES.values():
        for statement in make(Scope())["Statement"]:
            if "*" in statement["Resource"]:
                assert {
                    "greengrass:CreateDeployment",
                    "greengrass:ListCoreDevices",
                    "greengrass:ListDeployments",
                } == set(statement["Action"])


def test_the_command_prints_them(command: Callable[..., Done]) -> None:
    everything = json.loads(command("deploy", "iam").out)
    assert list(everything) == list(ROLES)
    one = json.loads(
        command(
            "deploy", "iam", "--role", "device", "--bucket", "parts", "--prefix", "/x/", "--partition", "aws-cn"
        ).out
    )
    assert [statement["Resource"] for statement in one["Statement"]] == [
        ["arn:aws-cn:s3:::parts/x/com.edgeagent.*"],
        ["arn:aws-cn:s3:::parts"],
    ]
    command_line = ("deploy", "iam", "--role", "device", "--upload-bucket", "recorded")
    assert json.loads(command(*command_line).out)["Statement"][-1] == {
        "Effect": "Allow",
        "Action": ["s3:PutObject"],
        "Resource": ["arn:aws:s3:::recorded/edge-agent/*"],
    }
    whole = json.loads(command(*command_line, "--upload-prefix", "").out)["Statement"][-1]
    assert whole["Resource"] == ["arn:aws:s3:::recorded/*"]
    narrow = command("deploy", "iam", "--role", "deployer", "--thing-group", "press", "--thing", "press-4").out
    assert "thinggroup/press" in narrow
    assert "thing/press-4" in narrow
