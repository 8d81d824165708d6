"""Proposed configurations that the component is asked about before a deployment lands (classic nucleus)."""

from __future__ import annotations

import asyncio
from typing import Any, Callable, Dict, List, Optional, Tuple

from edge_agent.greengrass.nucleus.state import INVALID_ARGUMENTS, OperationError

SendEvent = Callable[[str, Dict[str, Any]], None]

#: Seconds that a deployment waits for the answer: configurationValidationPolicy.timeoutInSeconds' default.
TIMEOUT_S = 30.0


class ConfigurationChecks:
    """One proposal at a time; everything runs on the event loop."""

    def __init__(self) -> None:
        self._listeners: List[SendEvent] = []
        self._pending: Optional[Tuple[str, asyncio.Future[Dict[str, Any]]]] = None

    def subscribe(self, send: SendEvent) -> None:
        self._listeners.append(send)

    def unsubscribe(self, send: SendEvent) -> None:
        if send in self._listeners:
            self._listeners.remove(send)

    async def ask(self, deployment: str, configuration: Dict[str, Any]) -> Optional[str]:
        """None where the component accepts the configuration, or is not subscribed; else why it does not."""
        if not self._listeners:
            return None
        answer: asyncio.Future[Dict[str, Any]] = asyncio.get_event_loop().create_future()
        self._pending = (deployment, answer)
        event = {"validateConfigurationUpdateEvent": {"configuration": configuration, "deploymentId": deployment}}
        for send in list(self._listeners):
            send("ValidateConfigurationUpdateEvents", event)
        try:
            report = await asyncio.wait_for(answer, TIMEOUT_S)
        except asyncio.TimeoutError:
            return "the component did not answer in time"
        finally:
            self._pending = None
        return None if report["status"] == "ACCEPTED" else str(report.get("message") or "rejected without a reason")

    def report(self, report: Dict[str, Any]) -> None:
        """The component's answer.

        Raises:
            OperationError: nothing was asked, or about another deployment.
        """
        if self._pending is None or report.get("deploymentId") != self._pending[0]:
            raise OperationError(INVALID_ARGUMENTS, "Validation request either timed out or was never made")
        answer = self._pending[1]
        if not answer.done():
            answer.set_result(report)
