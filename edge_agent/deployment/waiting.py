"""Waiting until a deployment is on every core device of its target, or until it is known which one failed and why."""

from __future__ import annotations

from typing import Callable, Dict, List, NamedTuple, Optional, Protocol

from edge_agent.clock import Clock
from edge_agent.deployment.cloud import Created, Execution, Target
from edge_agent.errors import DeploymentError, DeploymentUnavailableError

_WAITING = "QUEUED"
_DONE = ("SUCCEEDED", "COMPLETED")
_FAILED = ("FAILED", "TIMED_OUT", "REJECTED", "REMOVED", "CANCELED")

# Of the deployment as a whole. Others (ACTIVE) go on: a group's stays so for devices that join later.
_ENDED = ("CANCELED", "INACTIVE")


class Outcome(NamedTuple):
    """How each core device ended: `done` have it; `failed` have why, by name."""

    done: List[str]
    failed: Dict[str, str]


class Watched(Protocol):
    """What of `Cloud` is needed here."""

    def deployment(self, deployment: str) -> Dict[str, object]: ...

    def core_devices(self, target: Target) -> List[str]: ...

    def job_states(self, job: str) -> Dict[str, str]: ...

    def execution(self, device: str, deployment: str) -> Optional[Execution]: ...

    def last_word(self, device: str) -> str: ...


class Wait:
    """Args:
    cloud: that is asked.
    target: of the deployment.
    created: the deployment.
    clock: time.
    report: called with one line whenever a device has got further.
    """

    def __init__(
        self, cloud: Watched, target: Target, created: Created, clock: Clock, report: Callable[[str], None]
    ) -> None:
        self._cloud = cloud
        self._target = target
        self._created = created
        self._clock = clock
        self._report = report
        self._states: Dict[str, str] = {}
        self._reasons: Dict[str, str] = {}
        self._trouble = ""

    def until_done(self, timeout_s: float, poll_s: float) -> Outcome:
        """Wait until every core device has ended. A connection that fails for a time is waited for.

        Raises:
            DeploymentError: cancelled or replaced, or not done in time: with the devices that were not, and when AWS
                heard of them last.
        """
        deadline_ns = self._clock.monotonic_ns() + int(timeout_s * 1e9)
        while True:
            try:
                if self._look():
                    return self._outcome()
                self._trouble = ""
            except DeploymentUnavailableError as error:
                self._say_once(str(error))
            left_s = (deadline_ns - self._clock.monotonic_ns()) / 1e9
            if left_s <= 0:
                raise self._late(timeout_s)
            self._clock.sleep(min(poll_s, left_s))

    def _look(self) -> bool:
        """Whether all is over."""
        whole = self._cloud.deployment(self._created.deployment)
        self._update()
        status = whole.get("deploymentStatus")
        if status in _ENDED:
            raise DeploymentError(
                f"deployment {self._created.deployment}",
                f"is {status}: it was cancelled, or another one took its place",
            )
        if status == "FAILED" and not self._target.is_group:
            # It has nothing more to tell, also where its device says nothing; a group's are heard one by one.
            self._note(self._target.name, "FAILED")
        return status == "COMPLETED" or all(state in (*_DONE, *_FAILED) for state in self._states.values())

    def _update(self) -> None:
        devices = self._cloud.core_devices(self._target)
        found = self._executions(devices)
        for device in devices:
            self._note(device, found.get(device, _WAITING))
        for device in set(self._states) - set(devices):  # left the group meanwhile
            del self._states[device]
            self._reasons.pop(device, None)

    def _note(self, device: str, state: str) -> None:
        if self._states.get(device) == state:
            return
        self._reasons.pop(device, None)
        if state in _FAILED:
            self._reasons[device] = self._why(device, state)
        self._states[device] = state
        self._report(self._reasons.get(device) or f"{device}: {state}")

    def _executions(self, devices: List[str]) -> Dict[str, str]:
        if self._created.job is not None and self._target.is_group:
            # One question for all of a group, not one for each device.
            return self._cloud.job_states(self._created.job)
        executions = {device: self._cloud.execution(device, self._created.deployment) for device in devices}
        return {device: execution.status for device, execution in executions.items() if execution is not None}

    def _why(self, device: str, state: str) -> str:
        execution = self._cloud.execution(device, self._created.deployment)
        reason = execution.reason if execution is not None and execution.reason else "the device gave no reason"
        return f"{device}: {state}: {reason}"

    def _outcome(self) -> Outcome:
        failed = dict(self._reasons)
        return Outcome([device for device in self._states if device not in failed], failed)

    def _late(self, timeout_s: float) -> DeploymentError:
        open_ = [device for device, state in self._states.items() if state not in (*_DONE, *_FAILED)]
        words = [f"{device} {self._states[device]} ({self._last_word(device)})" for device in open_[:5]]
        more = f" and {len(open_) - 5} more" if len(open_) > 5 else ""
        parts = [
            *self._reasons.values(),
            f"waiting: {', '.join(words)}{more}" if open_ else self._trouble or "nothing was heard",
        ]
        return DeploymentError(
            f"deployment {self._created.deployment}",
            f"is not done after {timeout_s:g} s: {'; '.join(parts)}",
            "It goes on without this command; run it again with the same file to go on waiting.",
        )

    def _last_word(self, device: str) -> str:
        try:
            return self._cloud.last_word(device)
        except DeploymentError as error:
            return error.reason

    def _say_once(self, text: str) -> None:
        if text != self._trouble:
            self._trouble = text
            self._report(f"waiting: {text}")
