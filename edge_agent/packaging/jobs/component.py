"""A model component: the zip of its artifact, and its recipe (contract section 4.4)."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any, Dict, NamedTuple, Optional, Tuple

from edge_agent import __version__
from edge_agent.errors import PackageError
from edge_agent.model import ModelPackage
from edge_agent.model.package import MANIFEST
from edge_agent.model.seal import SIGNATURE, digests_of, files_of
from edge_agent.packaging.jobs.target import Target

_DIGITS = __version__.split(".")

AWS = "aws"

#: Whose Edge Agent runs the model: its component and the versions that will do. None: the deployment says it.
AGENTS: Dict[str, Optional[Tuple[str, str]]] = {
    "open": ("com.edgeagent.ModelServer", f">={_DIGITS[0]}.{_DIGITS[1]}.0"),
    AWS: ("aws.iot.lookoutvision.EdgeAgent", ">=1.0.0"),
    "none": None,
}

_EPOCH = (2020, 1, 1, 0, 0, 0)  # the same model gives the same zip
_CHUNK = 1024 * 1024


class ComponentVersion(NamedTuple):
    name: str
    version: str


def artifact_name(target: Target) -> str:
    """Of the zip. The nuclei unpack it to a directory of this name, and name that alike only without other dots."""
    return f"{target.name}_greengrass_model_component.zip"


def keys(prefix: str, component: ComponentVersion, target: Target) -> Tuple[str, str]:
    """S3 keys of the artifact and of the recipe. Below the prefix lie `artifacts/` and `recipes/` as greengrass-cli
    and ggl-cli take them.
    """
    top = f"{prefix.rstrip('/')}/" if prefix.strip("/") else ""
    name, version = component
    return f"{top}artifacts/{name}/{version}/{artifact_name(target)}", f"{top}recipes/{name}-{version}.json"


def identified_manifest(package: ModelPackage, component: ComponentVersion, arn: str) -> bytes:
    """The package's manifest with the component's name and version in it, the SHA-256 of its files, and the model's ARN
    where it has none.
    """
    document = json.loads((package.directory / MANIFEST).read_bytes())
    about = document.setdefault("package", {})
    about.update(name=component.name, version=component.version)
    about["files"] = digests_of(package.directory, str(package.path))
    if not about.get("model_arn"):
        about["model_arn"] = arn
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()


def copy_package(package: ModelPackage, directory: Path) -> None:
    """A copy to change; PackageError where it cannot be made."""
    subject = str(package.path)
    try:
        for place, file in [(MANIFEST, package.directory / MANIFEST), *files_of(package.directory, subject)]:
            target = directory / place
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
    except OSError as error:
        raise PackageError(subject, f"cannot be copied ({error.strerror})", "Free space, or set TMPDIR.") from error


def write_artifact(package: ModelPackage, manifest: bytes, target: Path, signature: Optional[bytes] = None) -> None:
    """Zip a package with this manifest, which comes first, as the device's own unpacking needs no order.

    Args:
        package: whose files go in.
        manifest: instead of its own.
        target: the zip.
        signature: of the manifest; None for none.

    Raises:
        PackageError: a file leads out of the package, or cannot be read, or the zip cannot be written.
    """
    try:
        with zipfile.ZipFile(str(target), "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            archive.writestr(_entry(MANIFEST), manifest, zipfile.ZIP_DEFLATED)
            if signature is not None:
                archive.writestr(_entry(SIGNATURE), signature, zipfile.ZIP_DEFLATED)
            for place, file in files_of(package.directory, str(package.path)):
                entry = _entry(place)
                entry.file_size = file.stat().st_size  # so that more than 4 GiB are foreseen
                with file.open("rb") as source, archive.open(entry, "w") as sink:
                    for chunk in iter(lambda: source.read(_CHUNK), b""):
                        sink.write(chunk)
    except OSError as error:
        raise PackageError(str(package.path), f"cannot be zipped ({error.strerror})") from error


def recipe(
    component: ComponentVersion, description: str, target: Target, agent: str, artifact_uri: str
) -> Dict[str, Any]:
    """The recipe for both nuclei.

    Args:
        component: its name and version.
        description: ComponentDescription.
        target: whose architecture the manifest names.
        agent: a key of AGENTS.
        artifact_uri: of the zip, `s3://...`.
    """
    document: Dict[str, Any] = {
        "RecipeFormatVersion": "2020-01-25",
        "ComponentName": component.name,
        "ComponentVersion": component.version,
        "ComponentType": "aws.greengrass.generic",
        "ComponentDescription": description,
        "ComponentPublisher": "edge-agent",
    }
    dependency = AGENTS[agent]
    if dependency is not None:
        # Soft: the files of a model need no restart when the agent restarts.
        document["ComponentDependencies"] = {
            dependency[0]: {"VersionRequirement": dependency[1], "DependencyType": "SOFT"}
        }
    document["Manifests"] = [
        {
            "Platform": {"os": "linux", "architecture": target.architecture, "runtime": "*"},
            # It has nothing to run, but nucleus lite stops whatever depends on a component that has ended.
            "Lifecycle": {"run": {"Script": "exec tail -f /dev/null"}},
            "Artifacts": [{"Uri": artifact_uri, "Unarchive": "ZIP", "Permission": {"Read": "ALL", "Execute": "ALL"}}],
        }
    ]
    return document


def _entry(place: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(place, date_time=_EPOCH)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    return entry
