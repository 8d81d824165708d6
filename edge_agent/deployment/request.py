"""The request CreateDeployment, out of the file and what the target has. Nothing here talks to anybody."""

from __future__ import annotations

import json
from typing import Any, Dict, Mapping, Optional

from edge_agent.deployment.settings import ComponentSettings, DeploymentSettings, RolloutSettings, RunWithSettings
from edge_agent.errors import ConfigError

#: Members that a revision takes over from the deployment before. Without them, CreateDeployment would drop them.
_KEPT = ("deploymentName", "components", "deploymentPolicies", "iotJobConfiguration", "parentTargetArn", "tags")


def carried_over(current: Optional[Mapping[str, Any]]) -> Dict[str, Any]:
    """What CreateDeployment would have to be given to ask for the same again.

    Args:
        current: what GetDeployment answered for the target's latest deployment; None where it has none.
    """
    copy: Dict[str, Any] = json.loads(json.dumps({key: (current or {}).get(key) for key in _KEPT}))
    return {key: value for key, value in copy.items() if value}


def revise(base: Mapping[str, Any], settings: DeploymentSettings, subject: str) -> Dict[str, Any]:
    """The request without its targetArn.

    Args:
        base: what `carried_over` gave. It is not changed.
        settings: the file. What it does not name stays as in `base`.
        subject: the file's name, for errors.

    Raises:
        ConfigError: a component without a version that the target does not have.
    """
    request: Dict[str, Any] = json.loads(json.dumps(base))
    components = {name: entry for name, entry in request.get("components", {}).items() if name not in settings.remove}
    for name, component in settings.components.items():
        components[name] = _component(components.get(name, {}), component, f"{subject}: components.{name}")
    request["components"] = components
    if settings.name is not None:
        request["deploymentName"] = settings.name
    _put(request, "deploymentPolicies", _policies(request.get("deploymentPolicies", {}), settings))
    _put(request, "iotJobConfiguration", _job(request.get("iotJobConfiguration", {}), settings))
    return request


def _component(before: Dict[str, Any], component: ComponentSettings, path: str) -> Dict[str, Any]:
    version = component.version or before.get("componentVersion")
    if version is None:
        raise ConfigError(f"{path}.version", "is missing, and the target does not have this component", "Add it.")
    entry = {**before, "componentVersion": version}
    if component.merge is not None or component.reset is not None:
        update: Dict[str, Any] = {}
        if component.merge:
            update["merge"] = json.dumps(component.merge, ensure_ascii=False)
        if component.reset:
            update["reset"] = list(component.reset)
        _put(entry, "configurationUpdate", update)
    if component.run_with is not None:
        _put(entry, "runWith", run_with(component.run_with))
    return entry


def run_with(settings: RunWithSettings) -> Dict[str, Any]:
    limits = _given(memory=settings.memory_kb, cpus=settings.cpus)
    return _given(posixUser=settings.posix_user, systemResourceLimits=limits or None)


def _policies(before: Dict[str, Any], settings: DeploymentSettings) -> Dict[str, Any]:
    policies = dict(before)
    if settings.on_failure is not None:
        policies["failureHandlingPolicy"] = settings.on_failure
    if settings.update is not None:
        policies["componentUpdatePolicy"] = {
            "action": settings.update.action,
            "timeoutInSeconds": settings.update.timeout_s,
        }
    if settings.validation_timeout_s is not None:
        policies["configurationValidationPolicy"] = {"timeoutInSeconds": settings.validation_timeout_s}
    return policies


def _job(before: Dict[str, Any], settings: DeploymentSettings) -> Dict[str, Any]:
    job = dict(before)
    if settings.rollout is not None:
        _put(job, "jobExecutionsRolloutConfig", _rollout(settings.rollout))
    if settings.abort is not None:
        criteria = [
            {
                "failureType": abort.failure_type,
                "action": "CANCEL",
                "thresholdPercentage": abort.percentage,
                "minNumberOfExecutedThings": abort.minimum,
            }
            for abort in settings.abort
        ]
        _put(job, "abortConfig", {"criteriaList": criteria} if criteria else {})
    if settings.device_timeout_min is not None:
        job["timeoutConfig"] = {"inProgressTimeoutInMinutes": settings.device_timeout_min}
    return job


def _rollout(rollout: RolloutSettings) -> Dict[str, Any]:
    curve = rollout.exponential
    if curve is None:
        return _given(maximumPerMinute=rollout.maximum_per_minute)
    return _given(
        maximumPerMinute=rollout.maximum_per_minute,
        exponentialRate={
            "baseRatePerMinute": curve.base_per_minute,
            "incrementFactor": curve.increment_factor,
            "rateIncreaseCriteria": _given(
                numberOfNotifiedThings=curve.after_notified, numberOfSucceededThings=curve.after_succeeded
            ),
        },
    )


def _given(**members: Any) -> Dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}


def _put(target: Dict[str, Any], key: str, value: Mapping[str, Any]) -> None:
    """An empty structure says the same as none, and only the latter is sure to be taken."""
    if value:
        target[key] = dict(value)
    else:
        target.pop(key, None)
