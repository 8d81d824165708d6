"""The deployment's file: what shall run, and how it shall come there. docs/deploy.md explains it.

What the file does not name stays as the target has it: components, configuration, policies. None means "not named".
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any, Dict, List, Literal, Mapping, Optional

import msgspec

from edge_agent.config import Settings, convert, join, read_file
from edge_agent.errors import ConfigError
from edge_agent.greengrass.recipe import lite_leaf_problem

_NAME = re.compile(r"[a-zA-Z0-9\-_.]{1,128}")
_VERSION = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?")

# The service's own limits (CreateDeployment).
_MAX_VERSION = 64
_MAX_NAME = 256
_RATES = range(1, 1001)


class RunWithSettings(Settings, frozen=True):
    """As whom a component runs, and within which limits.

    Attributes:
        posix_user: `USER` or `USER:GROUP`.
        memory_kb: kilobytes; nucleus lite has no limits.
        cpus: processors' time, such as 1.5.
    """

    posix_user: Optional[str] = None
    memory_kb: Optional[int] = None
    cpus: Optional[float] = None


class ComponentSettings(Settings, frozen=True):
    """One component.

    Attributes:
        version: x.y.z; needed for a component that the target does not have yet.
        merge: configuration to put in. With `reset`, it takes the place of what the deployment said before.
        reset: JSON pointers of configuration that goes back to the recipe's default, before the merge.
        run_with: as whom it runs.
    """

    version: Optional[str] = None
    merge: Optional[Dict[str, Any]] = None
    reset: Optional[List[str]] = None
    run_with: Optional[RunWithSettings] = None


class UpdateSettings(Settings, frozen=True):
    """Whether components are asked before they are changed (NOTIFY_COMPONENTS), and seconds that they may put it off."""

    action: Literal["NOTIFY_COMPONENTS", "SKIP_NOTIFY_COMPONENTS"] = "NOTIFY_COMPONENTS"
    timeout_s: int = 60


class ExponentialSettings(Settings, frozen=True):
    """A rollout that becomes faster.

    Attributes:
        base_per_minute: devices a minute at first.
        increment_factor: by which that grows, 1 to 5.
        after_notified: each time so many devices were told; or
        after_succeeded: each time so many have it.
    """

    base_per_minute: int
    increment_factor: float
    after_notified: Optional[int] = None
    after_succeeded: Optional[int] = None


class RolloutSettings(Settings, frozen=True):
    """How fast it reaches the devices of a group: at most so many a minute, from slow to fast where wanted."""

    maximum_per_minute: Optional[int] = None
    exponential: Optional[ExponentialSettings] = None


class AbortSettings(Settings, frozen=True):
    """The rollout is cancelled when `percentage` of at least `minimum` devices end so."""

    failure_type: Literal["FAILED", "REJECTED", "TIMED_OUT", "ALL"]
    percentage: float
    minimum: int


class DeploymentSettings(Settings, frozen=True):
    """The file.

    Attributes:
        components: by name.
        name: of the deployment.
        remove: components that shall go.
        on_failure: what a device does that fails.
        update: whether components are asked first.
        validation_timeout_s: seconds that components have to look at a new configuration.
        rollout: to the devices of a group.
        abort: when a rollout is cancelled.
        device_timeout_min: minutes in which a device must be done.
    """

    components: Dict[str, ComponentSettings] = msgspec.field(default_factory=dict)
    name: Optional[str] = None
    remove: List[str] = msgspec.field(default_factory=list)
    on_failure: Optional[Literal["ROLLBACK", "DO_NOTHING"]] = None
    update: Optional[UpdateSettings] = None
    validation_timeout_s: Optional[int] = None
    rollout: Optional[RolloutSettings] = None
    abort: Optional[List[AbortSettings]] = None
    device_timeout_min: Optional[int] = None


def read_deployment(file: Path) -> DeploymentSettings:
    """The file, checked as far as it can be without the target.

    Raises:
        ConfigError: with the exact path of what is wrong.
    """
    return parse_deployment(read_file(file), str(file))


def parse_deployment(data: Mapping[str, Any], subject: str) -> DeploymentSettings:
    values = dict(data)
    components = values.get("components", {})
    if not isinstance(components, dict):
        raise ConfigError(f"{subject}: components", "must map component names to their settings", "Correct the value.")
    # One by one: the path in a msgspec error does not name the key of a mapping.
    values["components"] = {
        name: convert(entry or {}, ComponentSettings, subject, join("components", str(name)))
        for name, entry in components.items()
    }
    settings = convert(values, DeploymentSettings, subject)
    _Checker(subject).check(settings)
    return settings


class _Checker:
    def __init__(self, subject: str) -> None:
        self._subject = subject

    def check(self, settings: DeploymentSettings) -> None:
        if not settings.components and not settings.remove:
            self._refuse("components", "names no component, and neither does `remove`", "Name one.")
        if settings.name is not None and not 1 <= len(settings.name) <= _MAX_NAME:
            self._refuse("name", f"must be 1 to {_MAX_NAME} characters long")
        for name, component in settings.components.items():
            self._component(name, component, removed=name in settings.remove)
        for name in settings.remove:
            self._name("remove", name)
        for key in ("validation_timeout_s", "device_timeout_min"):
            self._at_least(key, getattr(settings, key), 1)
        if settings.update is not None:
            self._at_least("update.timeout_s", settings.update.timeout_s, 1)
        self._rollout(settings.rollout)
        for number, abort in enumerate(settings.abort or []):
            if not 0 < abort.percentage <= 100:
                self._refuse(f"abort[{number}].percentage", "must be above 0 and at most 100")
            self._at_least(f"abort[{number}].minimum", abort.minimum, 1)

    def _component(self, name: str, component: ComponentSettings, *, removed: bool) -> None:
        path = f"components.{name}"
        self._name("components", name)
        if removed:
            self._refuse(path, "is named under `remove`, too", "Take it out of one of them.")
        version = component.version
        if version is not None and (not _VERSION.fullmatch(version) or len(version) > _MAX_VERSION):
            self._refuse(f"{path}.version", f"{version!r} is not of the form 1.2.3", "Put it in quotes in YAML.")
        for pointer in component.reset or []:
            if pointer and not pointer.startswith("/"):
                self._refuse(f"{path}.reset", f"{pointer!r} is no JSON pointer", "Begin it with a slash: /key/inner.")
        self._leaves(f"{path}.merge", component.merge or {})
        run_with = component.run_with
        if run_with is not None:
            self._at_least(f"{path}.run_with.memory_kb", run_with.memory_kb, 0)
            self._at_least(f"{path}.run_with.cpus", run_with.cpus, 0)
            if run_with.posix_user is not None and not re.fullmatch(r"[^\s:=]+(:[^\s:=]+)?", run_with.posix_user):
                self._refuse(f"{path}.run_with.posix_user", "is not of the form USER or USER:GROUP")

    def _rollout(self, rollout: Optional[RolloutSettings]) -> None:
        if rollout is None:
            return
        rate = rollout.maximum_per_minute
        if rate is not None and rate not in _RATES:
            self._refuse("rollout.maximum_per_minute", "must be 1 to 1000")
        curve = rollout.exponential
        if curve is None:
            return
        if curve.base_per_minute not in _RATES:
            self._refuse("rollout.exponential.base_per_minute", "must be 1 to 1000")
        if not 1 <= curve.increment_factor <= 5:
            self._refuse("rollout.exponential.increment_factor", "must be 1 to 5")
        if (curve.after_notified is None) == (curve.after_succeeded is None):
            self._refuse("rollout.exponential", "must have either after_notified or after_succeeded")
        self._at_least("rollout.exponential.after_notified", curve.after_notified, 1)
        self._at_least("rollout.exponential.after_succeeded", curve.after_succeeded, 1)

    def _leaves(self, path: str, value: Any) -> None:
        """What nucleus lite cannot store would fail on the device, minutes later and less clearly."""
        if isinstance(value, dict):
            for key, item in value.items():
                if not isinstance(key, str):
                    self._refuse(f"{path}.{key}", "is not a text", "Put the key in quotes: JSON knows no other keys.")
                self._leaves(f"{path}.{key}", item)
            return
        if not _is_json(value):
            self._refuse(path, f"holds {type(value).__name__}, which JSON does not have", "Put it in quotes.")
        problem = lite_leaf_problem(value)
        if problem:
            self._refuse(path, problem)

    def _name(self, path: str, name: str) -> None:
        if not _NAME.fullmatch(name):
            self._refuse(f"{path}.{name}", "is no component name", "Use letters, digits, dots, hyphens, underscores.")

    def _at_least(self, path: str, value: Optional[float], least: int) -> None:
        if value is not None and not value >= least:
            self._refuse(path, f"must be at least {least}")

    def _refuse(self, path: str, reason: str, remedy: str = "Correct the value.") -> None:
        raise ConfigError(f"{self._subject}: {path}", reason, remedy)


def _is_json(value: Any) -> bool:
    """YAML has dates and sets, and numbers that are none."""
    if isinstance(value, list):
        return all(_is_json(item) for item in value)
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_json(item) for key, item in value.items())
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or isinstance(value, (str, bool, int))
