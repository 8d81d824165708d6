"""The packaged models: whether they are there, whole, readable, and made for this machine."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Dict, Iterator, Optional

from edge_agent.doctor.account import READ, SEARCH, Account
from edge_agent.doctor.finding import BROKEN, OK, WARNING, Finding, broken
from edge_agent.errors import EdgeAgentError, PackageError
from edge_agent.model import ModelPackage, open_package
from edge_agent.model.manifest import NEO_RUNTIMES
from edge_agent.model.neo.artifacts import read_platform, subject_of
from edge_agent.server.store import ModelStore

_PUT = "Put packaged models there, or name another directory by --models."


def deployed(models: Optional[Path], greengrass: Optional[Path]) -> Dict[str, Path]:
    """Path of each package by model component, as the model server would find it."""
    found = ModelStore(models, greengrass).deployed()
    return {component: model.path for component, model in found.items()}


def check_models(models: Optional[Path], greengrass: Optional[Path], account: Account) -> Iterator[Finding]:
    """Args:
    models: directory of packages; None for none.
    greengrass: root of a nucleus whose model components are looked at, too; None for none.
    account: of the components.
    """
    if models is not None:
        if not models.is_dir():
            yield Finding(BROKEN, f"{models} is no directory", f"sudo install -d -g ggc_group -m 2775 {models}")
            return
        if not account.may(models, READ | SEARCH):
            yield Finding(BROKEN, f"{account.name} may not read {models}", f"sudo chmod o+rx {models}, or chgrp it.")
            return
    packages = deployed(models, greengrass)
    if not packages:
        places = [str(place) for place in (models, greengrass) if place is not None]
        yield Finding(WARNING, f"no packaged model in {' or '.join(places) or 'any place'}", _PUT)
    for component, path in packages.items():
        try:
            with open_package(path) as package:
                about = _about(package)
        except EdgeAgentError as error:
            yield broken(error, "Copy or deploy the package anew.")
            continue
        closed = next((file for file in _files(path) if not account.may(file, READ)), None)
        if closed is not None:
            yield Finding(BROKEN, f"{account.name} may not read {closed}", f"sudo chmod -R o+rX {path}")
        else:
            yield Finding(OK, f"{component} {package.version or 'without a version'}, {about}")


def _about(package: ModelPackage) -> str:
    """What runs it. Raises EdgeAgentError for a package that this machine cannot load."""
    stage = package.stage_directory()
    if package.manifest.runtime not in NEO_RUNTIMES:
        package.artifact()
        return str(package.manifest.runtime)
    target = read_platform(stage, subject_of(stage))
    if target.machine != platform.machine():
        raise PackageError(
            str(package.path),
            f"is compiled for {target.machine}, and this is {platform.machine()}",
            "Deploy the package for this machine.",
        )
    return f"compiled for {target.machine}, {target.device}"


def _files(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    for top, _, names in os.walk(path):
        yield from (Path(top, name) for name in names)
