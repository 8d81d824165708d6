"""The local engine: a package from the registry, tried out, zipped, with its recipe, put into a bucket.

What changes a network for its target is done in `_make`, before the zip is written, so that what is tried there is what
ships.
"""

from __future__ import annotations

import hashlib
import json
import platform
import tempfile
from pathlib import Path
from typing import List, Optional, Tuple

from edge_agent.errors import EngineError, PackageError
from edge_agent.model import ModelPackage, load_model, open_package, self_test
from edge_agent.model.manifest import NEO_RUNTIMES, ONNX
from edge_agent.model.neo.artifacts import read_platform
from edge_agent.model.package import MANIFEST
from edge_agent.model.seal import check_files
from edge_agent.packaging.golden_images import image_files
from edge_agent.packaging.jobs.buckets import Buckets
from edge_agent.packaging.jobs.component import (
    AWS,
    ComponentVersion,
    artifact_name,
    copy_package,
    identified_manifest,
    keys,
    recipe,
    write_artifact,
)
from edge_agent.packaging.jobs.engine import Made
from edge_agent.packaging.jobs.job import Job
from edge_agent.packaging.jobs.register import Registrar
from edge_agent.packaging.jobs.registry import CALIBRATION, GOLDEN, NETWORKS, ModelVersion
from edge_agent.packaging.jobs.signing import SigningKey
from edge_agent.packaging.jobs.target import Target, target_of
from edge_agent.packaging.model_package import make_package
from edge_agent.packaging.model_settings import PackageSettings
from edge_agent.packaging.optimize.wanted import FP32, NONE, Wanted
from edge_agent.packaging.portable import check_recipe

_ONCE = "A version cannot be made twice: choose another."


class LocalEngine:
    """Makes components of packages.

    Args:
        buckets: where components go.
        threads: of the inferences that try a model.
        key: signs the packages; None for unsigned ones.
        registrar: registers the components; None leaves that to others.
    """

    def __init__(
        self,
        buckets: Buckets,
        threads: int = 1,
        *,
        key: Optional[SigningKey] = None,
        registrar: Optional[Registrar] = None,
    ) -> None:
        self._buckets = buckets
        self._registrar = registrar
        self._key = key
        self._threads = threads

    def run(self, job: Job, model: ModelVersion) -> Made:
        request = job.greengrass
        target = target_of(request)
        component = ComponentVersion(request["ComponentName"], request["ComponentVersion"])
        bucket, prefix = request["S3OutputLocation"]["Bucket"], request["S3OutputLocation"].get("Prefix", "")
        artifact_key, recipe_key = keys(prefix, component, target)
        # A second attempt may find what the first one, which died, has put there.
        first = job.attempts <= 1
        if first and self._buckets.exists(bucket, recipe_key):
            raise PackageError(f"{bucket}/{recipe_key}", "exists already", _ONCE)
        registered = None if self._registrar is None else self._registrar.find(component)
        if self._registrar is not None and registered is not None:
            # Nothing may be put over the files of a version that is registered: devices hold them to their digests.
            if first:
                raise PackageError(registered, "is registered already", _ONCE)
            self._registrar.wait(registered)
            return Made(component.name, component.version, registered, "Registered by an earlier attempt.")
        document = recipe(
            component,
            request.get("ComponentDescription", f"Model {job.project}, version {model.version}."),
            target,
            job.settings.agent,
            f"s3://{bucket}/{artifact_key}",
        )
        text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
        check_recipe(document, f"recipe of {component.name}", len(text.encode()))
        with tempfile.TemporaryDirectory(prefix="edge-agent-packaging-") as temporary:
            artifact, recipe_file = Path(temporary, artifact_name(target)), Path(temporary, "recipe.json")
            remark = self._make(job, model, target, component, artifact)
            recipe_file.write_text(text, encoding="utf-8")
            places = [self._buckets.put(artifact, bucket, artifact_key)]
            places.append(self._buckets.put(recipe_file, bucket, recipe_key))
        message = " ".join(filter(None, [f"Written: {' and '.join(places)}.", remark]))
        arn = _arn(component)
        if self._registrar is not None:
            tags = {tag["Key"]: tag["Value"] for tag in request.get("Tags", [])}
            arn = self._registrar.register(component, text.encode(), tags, _token(job, component))
        return Made(component.name, component.version, arn, message)

    def _make(self, job: Job, model: ModelVersion, target: Target, component: ComponentVersion, artifact: Path) -> str:
        """Write the zip, and try what is in it; gives what was done to the network and what could not be tried."""
        place, remark = self._package_of(model, component, artifact.parent), ""
        with open_package(place) as package:
            check_files(package)  # before they are listed anew
            if job.settings.optimize != NONE:
                wanted = Wanted(job.settings.optimize, target.gpu, _calibration(model), self._threads)
                place, remark = _optimized(package, wanted, artifact.parent / "optimized")
        with open_package(place) as package:
            if job.settings.agent == AWS:
                _refuse_foreign(package)
                manifest = (package.directory / MANIFEST).read_bytes()  # a closed program reads it: not one byte else
            else:
                arn = f"arn:aws:lookoutvision:::model/{job.project}/{model.version}"
                manifest = identified_manifest(package, component, arn)
            signature = None if self._key is None else self._key.sign(manifest)
            write_artifact(package, manifest, artifact, signature)
        with open_package(artifact) as package:
            return " ".join(filter(None, [remark, self._try(package, target)]))

    def _package_of(self, model: ModelVersion, component: ComponentVersion, directory: Path) -> Path:
        """Where the package lies; made in a directory of the job's own where the registry has a network's file."""
        if model.path.suffix not in NETWORKS or model.path.is_dir():
            return model.path
        golden = model.path.parent / GOLDEN
        settings = PackageSettings(
            model.path,
            directory / "package",
            component.name,
            component.version,
            golden=golden if golden.is_dir() else None,
            threads=self._threads,
        )
        return make_package(settings).path

    def _try(self, package: ModelPackage, target: Target) -> str:
        """Load the model and run it, where this machine can; gives why it could not."""
        if package.manifest.runtime in NEO_RUNTIMES:
            found = read_platform(package.stage_directory(), package.name)
            if found.machine != target.machine:
                raise EngineError(
                    package.name,
                    f"is compiled for {found.machine}, but the target is {target.machine}",
                    "Name that one.",
                )
            if found.device != "cpu" and not target.gpu:
                raise EngineError(package.name, f"is compiled for a {found.device}, but the target has none")
            if found.machine != platform.machine() or found.device != "cpu":
                return f"Not run here: compiled for {found.machine}, {found.device}. Its files were checked."
        model = load_model(package, threads=self._threads)
        try:
            model.warm_up()
            self_test(model, package)
        finally:
            model.close()
        return ""


def _optimized(package: ModelPackage, wanted: Wanted, directory: Path) -> Tuple[Path, str]:
    """Where the package as it is wanted lies, and a remark of what was done to it."""
    if package.manifest.runtime != ONNX:
        if wanted.precision == FP32:
            return package.path, ""
        raise PackageError(
            package.name,
            f"has the runtime {package.manifest.runtime!r}; only ONNX networks are made {wanted.precision}",
            "Ask for fp32, or none.",
        )
    from edge_agent.packaging.optimize.package import optimize

    copy_package(package, directory)
    done = optimize(directory, wanted)
    return directory, f"Network: {done}." if done else ""


def _calibration(model: ModelVersion) -> List[Path]:
    directory = model.path.parent / CALIBRATION
    return image_files(directory) if directory.is_dir() else []


def _refuse_foreign(package: ModelPackage) -> None:
    if package.manifest.runtime not in NEO_RUNTIMES:
        raise PackageError(
            package.name,
            f"has the runtime {package.manifest.runtime!r}, but AWS's Edge Agent runs models compiled by SageMaker Neo",
            "Have it depend on our model server: --agent open.",
        )


def _arn(component: ComponentVersion) -> str:
    """Of the service's shape. `local` stands for a Region where nothing is registered with Greengrass."""
    return f"arn:aws:greengrass:local:aws:components:{component.name}:versions:{component.version}"


def _token(job: Job, component: ComponentVersion) -> str:
    """The same for each attempt of a job, and for no other job."""
    return hashlib.sha256(repr((job.project, job.name, job.created, *component)).encode()).hexdigest()
