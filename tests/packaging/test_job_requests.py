"""What a request may say, held against the service model that botocore 1.40.60 carries."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Dict, List, Tuple

import botocore.session
import pytest
from support.packaging import start_request

from edge_agent.errors import ValidationError
from edge_agent.packaging.jobs.forms import Many, Members, OneOf, Text, WholeNumber
from edge_agent.packaging.jobs.request import DESCRIBE, LIST, START, check_start

_JETSON = '{"gpu-code": "sm_72", "trt-ver": "8.2.1", "cuda-ver": "10.2"}'


def _platform(arch: str, accelerator: str = "") -> Dict[str, str]:
    return {"Os": "LINUX", "Arch": arch, **({"Accelerator": accelerator} if accelerator else {})}


@pytest.fixture(scope="module")
def service_model() -> Any:
    return botocore.session.Session().get_service_model("lookoutvision")


@pytest.mark.parametrize(
    ("form", "operation"),
    [(START, "StartModelPackagingJob"), (DESCRIBE, "DescribeModelPackagingJob"), (LIST, "ListModelPackagingJobs")],
)
def test_members_lengths_words_and_numbers_are_those_of_the_service_model(
    form: Members, operation: str, service_model: Any
) -> None:
    _compare(form, service_model.operation_model(operation).input_shape)


def _compare(form: Any, shape: Any) -> None:
    limits = shape.metadata
    if shape.type_name == "structure":
        assert isinstance(form, Members)
        assert set(form.required) == set(shape.required_members)
        assert {**form.required, **form.optional}.keys() == shape.members.keys()
        for name, member in shape.members.items():
            _compare({**form.required, **form.optional}[name], member)
    elif shape.type_name == "list":
        assert isinstance(form, Many)
        assert form.most == limits["max"]
        _compare(form.member, shape.member)
    elif getattr(shape, "enum", None):
        assert isinstance(form, OneOf)
        assert list(form.words) == shape.enum
    elif shape.type_name == "integer":
        assert isinstance(form, WholeNumber)
        assert (form.lowest, form.highest) == (limits["min"], limits["max"])
    else:
        assert isinstance(form, Text)
        assert (form.shortest, form.longest) == (limits.get("min", 0), limits["max"])


# Contract section 4.3: every documented target.
@pytest.mark.parametrize(
    "greengrass",
    [
        {"TargetDevice": "jetson_xavier", "TargetPlatform": None},
        {"TargetPlatform": _platform("ARM64", "NVIDIA"), "CompilerOptions": _JETSON},
        {"TargetPlatform": _platform("ARM64", "NVIDIA"), "CompilerOptions": _JETSON.replace("8.2.1", "7.1.3")},
        {
            "TargetPlatform": _platform("X86_64", "NVIDIA"),
            "CompilerOptions": '{"gpu-code": "sm_75", "trt-ver": "7.1.3", "cuda-ver": "10.2"}',
        },
        {
            "TargetPlatform": _platform("X86_64", "NVIDIA"),
            "CompilerOptions": '{"gpu-code": "sm_80", "trt-ver": "8.2.0", "cuda-ver": "11.2"}',
        },
        {"TargetPlatform": _platform("X86_64")},
        {"TargetPlatform": _platform("ARM64")},
        {"TargetPlatform": _platform("X86_64"), "CompilerOptions": '{"mcpu": "core-avx2"}'},
        {"ComponentVersion": "0.1.0"},
        {"ComponentVersion": "999999.0.12"},
        {"ComponentDescription": "Bolts (v1), it's: a; model?"},
        {"S3OutputLocation": {"Bucket": "abc"}},
        {"S3OutputLocation": {"Bucket": "abc", "Prefix": ""}},
        {"Tags": []},
        {"Tags": [{"Key": "Straße 1", "Value": ""}] * 200},
    ],
)
def test_what_the_contract_allows_is_taken(greengrass: Dict[str, Any]) -> None:
    request = start_request(**greengrass)
    assert check_start(request).configuration == request["Configuration"]


@pytest.mark.parametrize(
    ("greengrass", "said"),
    [
        ({"TargetDevice": "jetson_xavier"}, "Configuration.Greengrass.TargetDevice: is given, and TargetPlatform too"),
        ({"TargetPlatform": None}, "names no target"),
        (
            {"TargetDevice": "jetson_xavier", "TargetPlatform": None, "CompilerOptions": _JETSON},
            "CompilerOptions: is given with TargetDevice",
        ),
        ({"TargetDevice": "jetson_nano", "TargetPlatform": None}, r"not one of \[jetson_xavier\]"),
        ({"TargetPlatform": _platform("ARM64", "NVIDIA")}, "CompilerOptions: is missing; an NVIDIA accelerator needs"),
        (
            {"TargetPlatform": _platform("ARM64", "NVIDIA"), "CompilerOptions": '{"gpu-code": "sm_72"}'},
            "has no trt-ver, cuda-ver",
        ),
        (
            {"TargetPlatform": _platform("ARM64", "NVIDIA"), "CompilerOptions": _JETSON.replace("8.2.1", "8.2")},
            "has trt-ver '8.2', not a text of the form 8.2.1",
        ),
        (
            {"TargetPlatform": _platform("ARM64", "NVIDIA"), "CompilerOptions": _JETSON.replace('"10.2"', "10.2")},
            "has cuda-ver 10.2",
        ),
        ({"CompilerOptions": "{}"}, "has 2 characters, not 3 to 1024"),
        ({"CompilerOptions": "{}\n"}, "does not match"),
        ({"CompilerOptions": "[1]"}, "not a JSON structure"),
        ({"CompilerOptions": "[" * 1024}, "not a JSON structure"),
        ({"CompilerOptions": '{"mcpu": 7}'}, "has mcpu 7"),
        ({"TargetPlatform": {"Os": "LINUX"}}, "TargetPlatform.Arch: is missing"),
        ({"TargetPlatform": {"Os": "WINDOWS", "Arch": "ARM64"}}, "TargetPlatform.Os: is 'WINDOWS'"),
        ({"ComponentName": "a b"}, "ComponentName: is 'a b'"),
        ({"ComponentName": "a\n"}, "ComponentName: is"),
        ({"ComponentName": None}, "ComponentName: is missing"),
        ({"ComponentVersion": "1.0"}, "ComponentVersion: is '1.0'"),
        ({"ComponentVersion": "1234567.0.0"}, "ComponentVersion"),
        ({"ComponentDescription": ""}, "has 0 characters"),
        ({"S3OutputLocation": {"Bucket": "ab"}}, "Bucket: has 2 characters"),
        ({"S3OutputLocation": {"Bucket": "abc", "Prefix": "/a"}}, "Prefix: is '/a'"),
        ({"S3OutputLocation": {"Prefix": "a"}}, "Bucket: is missing"),
        ({"Tags": [{"Key": "a", "Value": "b"}] * 201}, "has 201 members"),
        ({"Tags": [{"Key": "a*", "Value": "b"}]}, r"Tags\[0\].Key: is 'a\*', which has characters"),
        ({"Tags": [{"Key": "a"}]}, r"Tags\[0\].Value: is missing"),
        ({"Tags": {"Key": "a", "Value": "b"}}, "Tags: is a structure, not a list"),
        ({"Precision": "FP16"}, "'Precision': is no member; known are S3OutputLocation, ComponentName"),
    ],
)
def test_what_the_contract_refuses_is_refused_by_member_and_reason(greengrass: Dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        check_start(start_request(**greengrass))


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"ModelVersion": "0"}, "ModelVersion: is '0'"),
        ({"ModelVersion": "newest"}, "ModelVersion"),
        ({"ModelVersion": 1}, "ModelVersion: is a number, not a text"),
        ({"ModelVersion": "12345678901"}, "has 11 characters"),
        ({"ProjectName": "../secrets"}, "ProjectName"),
        ({"ProjectName": "p" * 256}, "has 256 characters"),
        ({"JobName": "a_b"}, "JobName"),
        ({"JobName": ""}, "has 0 characters"),
        ({"ClientToken": "a b"}, "ClientToken"),
        ({"Description": "50%"}, "Description"),
        ({"Configuration": {}}, "Configuration.Greengrass: is missing"),
        ({"Configuration": None}, "Configuration: is missing"),
    ],
)
def test_members_at_the_top_are_checked(members: Dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        check_start({**start_request(), **members})


def test_all_faults_are_said_at_once_and_null_counts_as_absent() -> None:
    with pytest.raises(ValidationError, match=r"ModelVersion: is '0'.*Also: JobName is ' '"):
        check_start({**start_request(), "ModelVersion": "0", "JobName": " "})
    checked = check_start({**start_request(), "JobName": None, "Description": None})
    assert (checked.job, checked.description) == (None, None)


def test_a_filled_skeleton_is_a_request() -> None:
    document: Dict[str, Any] = json.loads(json.dumps(START.skeleton()))
    greengrass = document["Configuration"]["Greengrass"]
    del greengrass["TargetDevice"]  # the skeleton names both targets, which exclude one another
    values: List[Tuple[Dict[str, Any], Dict[str, Any]]] = [
        (
            document,
            {"ProjectName": "p", "ModelVersion": "latest", "JobName": "j", "Description": "d", "ClientToken": "t"},
        ),
        (greengrass, {"CompilerOptions": _JETSON, "ComponentName": "c", "ComponentVersion": "1.2.3"}),
        (greengrass, {"ComponentDescription": "d", "Tags": [{"Key": "k", "Value": "v"}]}),
        (greengrass["S3OutputLocation"], {"Bucket": "bucket"}),
    ]
    for place, entries in values:
        assert entries.keys() <= place.keys()
        place.update(entries)
    assert check_start(document).job == "j"


def test_the_documented_configuration_is_a_request() -> None:
    page = (Path(__file__).parents[2] / "docs" / "packaging.md").read_text()
    configuration = json.loads(re.findall(r"```json\n(.*?)```", page, re.DOTALL)[0])
    assert check_start({**start_request(), "Configuration": configuration}).configuration == configuration
