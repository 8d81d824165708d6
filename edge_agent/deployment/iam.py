"""The rights that publishing and deploying take, and those of a device: no more than these."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, NamedTuple


class Scope(NamedTuple):
    """What the policies are for. A part that is not known stands there in capitals, to be replaced.

    Attributes:
        region, account: of AWS.
        bucket, prefix: of the components' artifacts.
        components: pattern of component names.
        thing, group: targets of deployments; `*` for all.
        partition: aws, aws-cn or aws-us-gov.
        upload_bucket, upload_prefix: where devices put recorded images; empty: nowhere.
    """

    region: str = "REGION"
    account: str = "ACCOUNT"
    bucket: str = "BUCKET"
    prefix: str = ""
    components: str = "com.edgeagent.*"
    thing: str = "*"
    group: str = "*"
    partition: str = "aws"
    upload_bucket: str = ""
    upload_prefix: str = "edge-agent"

    def objects(self) -> str:
        return self._s3(self.bucket, self.prefix, self.components)

    def uploads(self) -> str:
        return self._s3(self.upload_bucket, self.upload_prefix, "*")

    def greengrass(self, resource: str) -> str:
        return f"arn:{self.partition}:greengrass:{self.region}:{self.account}:{resource}"

    def iot(self, resource: str) -> str:
        return f"arn:{self.partition}:iot:{self.region}:{self.account}:{resource}"

    def _s3(self, bucket: str, prefix: str, names: str) -> str:
        place = "/".join(part for part in (bucket, prefix.strip("/"), names) if part)
        return f"arn:{self.partition}:s3:::{place}"


def publisher(scope: Scope) -> Dict[str, Any]:
    """Uploads artifacts and makes component versions of them. S3 is asked on the caller's behalf, hence the reading."""
    return _policy(
        _allow(["s3:GetObject", "s3:PutObject"], [scope.objects()]),
        _allow(
            ["greengrass:CreateComponentVersion", "greengrass:DescribeComponent"],
            [scope.greengrass(f"components:{scope.components}")],
        ),
    )


def deployer(scope: Scope) -> Dict[str, Any]:
    """Deploys to things and groups and watches it. Greengrass makes IoT jobs and shadows with the caller's rights."""
    things, groups, jobs = (
        scope.iot(f"thing/{scope.thing}"),
        scope.iot(f"thinggroup/{scope.group}"),
        scope.iot("job/*"),
    )
    return _policy(
        # Their targets are no resources of these actions: what may be deployed to is decided by the IoT rights below.
        _allow(["greengrass:CreateDeployment", "greengrass:ListCoreDevices", "greengrass:ListDeployments"], ["*"]),
        _allow(["greengrass:GetDeployment"], [scope.greengrass("deployments:*")]),
        _allow(
            ["greengrass:GetCoreDevice", "greengrass:ListEffectiveDeployments"],
            [scope.greengrass(f"coreDevices:{scope.thing}")],
        ),
        _allow(
            ["iot:DeleteThingShadow", "iot:DescribeThing", "iot:GetThingShadow", "iot:UpdateThingShadow"],
            [things],
        ),
        _allow(["iot:DescribeThingGroup"], [groups]),
        _allow(["iot:CreateJob"], [jobs, things, groups]),
        _allow(["iot:CancelJob", "iot:DescribeJob", "iot:ListJobExecutionsForJob", "iot:UpdateJob"], [jobs]),
    )


def device(scope: Scope) -> Dict[str, Any]:
    """The core devices' token exchange role: artifacts are fetched, recorded images are put; nothing else."""
    return _policy(
        _allow(["s3:GetObject"], [scope.objects()]),
        _allow(["s3:GetBucketLocation"], [f"arn:{scope.partition}:s3:::{scope.bucket}"]),
        *([_allow(["s3:PutObject"], [scope.uploads()])] if scope.upload_bucket else []),
    )


#: By the words of the command line.
ROLES: Dict[str, Callable[[Scope], Dict[str, Any]]] = {
    "publisher": publisher,
    "deployer": deployer,
    "device": device,
}


def _policy(*statements: Dict[str, Any]) -> Dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def _allow(actions: List[str], resources: List[str]) -> Dict[str, Any]:
    return {"Effect": "Allow", "Action": actions, "Resource": resources}
