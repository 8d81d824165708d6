"""The classic nucleus's greengrass-cli, as its source has it: `deployment create|status`, `component list`."""

from __future__ import annotations

import json
import re
from typing import Any, Dict, List

from edge_agent.clock import Clock
from edge_agent.deployment.local import Places, Program, ended, first_match
from edge_agent.deployment.settings import DeploymentSettings
from edge_agent.errors import DeploymentError

_COMPONENT = re.compile(r"^Component Name: *(\S+)\s+Version: *(\S+)", re.MULTILINE)
_LOG = "Read /greengrass/v2/logs/greengrass.log and the component's own log beside it."


class ClassicCli:
    """Args:
    program: greengrass-cli.
    poll_s: seconds between looks at a deployment.
    """

    def __init__(self, program: Program, poll_s: float) -> None:
        self._program = program
        self._poll_s = poll_s

    def installed(self) -> Dict[str, str]:
        return dict(_COMPONENT.findall(self._program.run("component", "list")))

    def deploy(self, settings: DeploymentSettings, versions: Dict[str, str], places: Places) -> str:
        printed = self._program.run("deployment", "create", *_arguments(settings, versions, places))
        return first_match(r"Deployment Id: *(\S+)", printed, "greengrass-cli deployment create", "deployment id")

    def wait(self, deployment: str, timeout_s: float, clock: Clock) -> str:
        subject = f"local deployment {deployment}"
        deadline_ns = clock.monotonic_ns() + int(timeout_s * 1e9)
        while True:
            printed = self._program.run("deployment", "status", "-i", deployment)
            status = first_match(rf"{re.escape(deployment)}: *([A-Z_]+)", printed, subject, "status")
            well = ended(status)
            if well:
                return f"{subject}: {status}"
            if well is not None:
                # Newer ones print more than the status: why.
                more = " ".join(printed.replace(f"{deployment}: {status}", "").split())
                raise DeploymentError(subject, f"{status}: {more}" if more else status, _LOG)
            if (clock.monotonic_ns() - deadline_ns) >= 0:
                raise DeploymentError(subject, f"is {status} after {timeout_s:g} s", _LOG)
            clock.sleep(self._poll_s)


def _arguments(settings: DeploymentSettings, versions: Dict[str, str], places: Places) -> List[str]:
    arguments: List[str] = []
    if places.recipes is not None:
        arguments += ["--recipeDir", str(places.recipes.absolute())]
    if places.artifacts is not None:
        arguments += ["--artifactDir", str(places.artifacts.absolute())]
    for name, version in versions.items():
        arguments += ["--merge", f"{name}={version}"]
    for name in settings.remove:
        arguments += ["--remove", name]
    update = _configuration(settings)
    if update:
        arguments += ["--update-config", json.dumps(update, ensure_ascii=False)]
    arguments += _run_with(settings)
    if settings.on_failure is not None:
        arguments += ["--failure-handling-policy", settings.on_failure]
    return arguments


def _configuration(settings: DeploymentSettings) -> Dict[str, Any]:
    update = {}
    for name, component in settings.components.items():
        words = {"RESET": component.reset, "MERGE": component.merge}
        given = {word: value for word, value in words.items() if value}
        if given:
            update[name] = given
    return update


def _run_with(settings: DeploymentSettings) -> List[str]:
    arguments: List[str] = []
    limits: Dict[str, Dict[str, float]] = {}
    for name, component in settings.components.items():
        run_with = component.run_with
        if run_with is None:
            continue
        if run_with.posix_user is not None:
            arguments += ["--runWith", f"{name}:posixUser={run_with.posix_user}"]
        numbers = {"memory": run_with.memory_kb, "cpus": run_with.cpus}
        given = {key: value for key, value in numbers.items() if value is not None}
        if given:
            limits[name] = given
    return [*arguments, "--systemLimits", json.dumps(limits)] if limits else arguments
