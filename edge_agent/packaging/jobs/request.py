"""What the three operations may be asked: the service's members, constraints and exclusions (contract section 4.1)."""

from __future__ import annotations

import unicodedata
from typing import Any, Dict, Iterator, NamedTuple, Optional

from edge_agent.errors import ValidationError
from edge_agent.packaging.jobs.compiler_options import compiler_faults
from edge_agent.packaging.jobs.forms import Fault, Many, Members, OneOf, Text, WholeNumber, refuse, without_nulls

MAX_RESULTS = 100
LATEST = "latest"

_DESCRIPTION = Text(1, 256, r"[a-zA-Z0-9\-_. ()':,;?]+")
_PROJECT = Text(1, 255, r"[a-zA-Z0-9][a-zA-Z0-9_\-]*")
_JOB = Text(1, 64, r"[a-zA-Z0-9\-]+")


def _in_tags(character: str) -> bool:
    return character in "_.:/=+-@" or unicodedata.category(character)[0] in "LZN"


_GREENGRASS = Members(
    required={
        "S3OutputLocation": Members(
            required={"Bucket": Text(3, 63, r"[0-9A-Za-z.\-_]*")},
            optional={"Prefix": Text(0, 1024, r"([a-zA-Z0-9!_.*'()\-][/a-zA-Z0-9!_.*'()\-]*)?")},
        ),
        "ComponentName": Text(1, 128, r"[a-zA-Z0-9\-_.]+"),
    },
    optional={
        "CompilerOptions": Text(3, 1024),
        "TargetDevice": OneOf(("jetson_xavier",)),
        "TargetPlatform": Members(
            required={"Os": OneOf(("LINUX",)), "Arch": OneOf(("ARM64", "X86_64"))},
            optional={"Accelerator": OneOf(("NVIDIA",))},
        ),
        "ComponentVersion": Text(1, 64, r"[0-9]{1,6}\.[0-9]{1,6}\.[0-9]{1,6}"),
        "ComponentDescription": _DESCRIPTION,
        "Tags": Many(
            Members(required={"Key": Text(1, 128, ".*", _in_tags), "Value": Text(0, 256, ".*", _in_tags)}, optional={}),
            most=200,
        ),
    },
)

START = Members(
    required={
        "ProjectName": _PROJECT,
        "ModelVersion": Text(1, 10, r"([1-9][0-9]*|latest)"),
        "Configuration": Members(required={"Greengrass": _GREENGRASS}, optional={}),
    },
    optional={"JobName": _JOB, "Description": _DESCRIPTION, "ClientToken": Text(1, 64, r"[a-zA-Z0-9\-]+")},
)
DESCRIBE = Members(required={"ProjectName": _PROJECT, "JobName": _JOB}, optional={})
LIST = Members(
    required={"ProjectName": _PROJECT},
    optional={"NextToken": Text(0, 2048, r"[a-zA-Z0-9/+=]*"), "MaxResults": WholeNumber(1, MAX_RESULTS)},
)


class StartRequest(NamedTuple):
    """A checked StartModelPackagingJob. `configuration` is the member Configuration as it came, without nulls."""

    project: str
    model_version: str
    configuration: Dict[str, Any]
    job: Optional[str]
    description: Optional[str]
    token: Optional[str]


def check_start(request: Any) -> StartRequest:
    """Raises ValidationError for what the service would refuse."""
    refuse(START.faults(request, ""))
    request = without_nulls(request)
    refuse(_exclusions(request["Configuration"]["Greengrass"]))
    return StartRequest(
        request["ProjectName"],
        request["ModelVersion"],
        request["Configuration"],
        request.get("JobName"),
        request.get("Description"),
        request.get("ClientToken"),
    )


def check(form: Members, request: Any) -> Dict[str, Any]:
    """The request of DESCRIBE or LIST; raises ValidationError for what the service would refuse."""
    refuse(form.faults(request, ""))
    checked = without_nulls(request)
    if not isinstance(checked, dict):  # a form of members passes nothing else
        raise ValidationError("request", "is no structure")
    return checked


def _exclusions(greengrass: Dict[str, Any]) -> Iterator[Fault]:
    path = "Configuration.Greengrass"
    platform, options = greengrass.get("TargetPlatform"), greengrass.get("CompilerOptions")
    if "TargetDevice" in greengrass:
        if platform is not None:
            yield Fault(f"{path}.TargetDevice", "is given, and TargetPlatform too; they exclude one another")
        if options is not None:
            yield Fault(f"{path}.CompilerOptions", "is given with TargetDevice, which needs none and takes none")
        return
    if platform is None:
        yield Fault(path, "names no target: give TargetDevice or TargetPlatform")
        return
    yield from compiler_faults(options, f"{path}.CompilerOptions", gpu="Accelerator" in platform)
