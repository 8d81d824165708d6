"""Model registries and requests for tests of packaging jobs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, Optional

from support.packages import make_package

from edge_agent.packaging.jobs.buckets import FileBuckets
from edge_agent.packaging.jobs.engine import Made
from edge_agent.packaging.jobs.job import Settings
from edge_agent.packaging.jobs.local import LocalEngine
from edge_agent.packaging.jobs.registry import ModelRegistry
from edge_agent.packaging.jobs.signing import SigningKey
from edge_agent.packaging.jobs.state import PackagingState

PROJECT = "bolts"


def make_registry(directory: Path, *versions: int, work: int = 0) -> Path:
    """A registry with one project, `bolts`, of these versions (1 where none is given); gives the directory."""
    for version in versions or (1,):
        make_package(directory / PROJECT / str(version) / "model", size=(32, 48), raw_image_shape=(64, 96), work=work)
    return directory


def start_request(**greengrass: Any) -> Dict[str, Any]:
    """A StartModelPackagingJob that is right; a member of Configuration.Greengrass that is None is left out."""
    members: Dict[str, Any] = {
        "TargetPlatform": {"Os": "LINUX", "Arch": "X86_64"},
        "S3OutputLocation": {"Bucket": "my-bucket", "Prefix": "components"},
        "ComponentName": "com.example.Bolts",
        **greengrass,
    }
    kept = {name: value for name, value in members.items() if value is not None}
    return {"ProjectName": PROJECT, "ModelVersion": "1", "Configuration": {"Greengrass": kept}}


def open_state(directory: Path, *, registry: Optional[Path] = None, **settings: Any) -> PackagingState:
    """State in directory/state, models in directory/registry, buckets in directory/buckets."""
    models, buckets = registry or directory / "registry", (directory / "buckets").as_uri()
    return PackagingState(directory / "state", Settings(str(models), buckets, **{"agent": "open", **settings}))


def run_job(directory: Path, settings: Optional[Dict[str, Any]] = None, **greengrass: Any) -> Made:
    """The job of `start_request`, done in this process; `settings` are those of `open_state`."""
    place = open_state(directory, **(settings or {}))
    job = place.service.create(start_request(**greengrass))
    model = ModelRegistry(directory / "registry").find(PROJECT, "1")
    key = SigningKey(Path(job.settings.sign_with)) if job.settings.sign_with else None
    return LocalEngine(FileBuckets(directory / "buckets"), key=key).run(job, model)


def artifact_of(directory: Path, target: str = "x86_64") -> Path:
    """The artifact that a job of `start_request` wrote."""
    top = directory / "buckets" / "my-bucket" / "components" / "artifacts" / "com.example.Bolts" / "1.0.0"
    return top / f"{target}_greengrass_model_component.zip"


def recipe_of(directory: Path, component: str = "com.example.Bolts", version: str = "1.0.0") -> Dict[str, Any]:
    """The recipe that a job of `start_request` wrote."""
    file = directory / "buckets" / "my-bucket" / "components" / "recipes" / f"{component}-{version}.json"
    document: Dict[str, Any] = json.loads(file.read_text())
    return document
