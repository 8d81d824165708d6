"""What the server tells whoever counts: each call, each load. Nothing here may block or fail."""

from __future__ import annotations

from typing import Protocol

from edge_agent.model.verdict import StageTimings


class CallObserver(Protocol):
    """One call. DetectAnomalies goes through `waits`, `has_turn` and `computed` as far as it comes; all reach `ends`."""

    def waits(self, component: str) -> None:
        """From now on it waits for its turn on a model."""

    def has_turn(self, waited_ms: float) -> None:
        """It has its turn."""

    def computed(self, timings: StageTimings) -> None:
        """There is a verdict."""

    def ends(self, code: str) -> None:
        """It is answered with this status, such as OK."""


class ServerObserver(Protocol):
    def call(self, method: str) -> CallObserver:
        """A call begins."""

    def loaded(self, component: str, failure: str) -> None:
        """A model was loaded, or failed to load with this reason."""


class Unobserved:
    """A server that nobody watches; also its calls."""

    def call(self, _method: str) -> CallObserver:
        return self

    def loaded(self, component: str, failure: str) -> None:
        pass

    def waits(self, component: str) -> None:
        pass

    def has_turn(self, waited_ms: float) -> None:
        pass

    def computed(self, timings: StageTimings) -> None:
        pass

    def ends(self, code: str) -> None:
        pass
