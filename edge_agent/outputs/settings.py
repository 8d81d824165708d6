"""What an output is told."""

from __future__ import annotations

from typing import Literal, Optional, Tuple

from edge_agent.config import Settings
from edge_agent.outputs.kinds import KindSettings
from edge_agent.outputs.plc import PlcOutputSettings
from edge_agent.rule import RuleSettings

_MAX_QUEUE = 10_000
_MAX_AFTER_MS = 600_000
# Where nobody says: what drives something must not hit the part after the one it was meant for.
_DRIVES_LATE_MS = 50.0


class OutputSettings(Settings, frozen=True):
    """One output.

    Attributes:
        to: what it is.
        when: the rule: which parts it acts on.
        lanes: the lanes it hears; an empty list: all.
        act_after_ms: milliseconds from the capture of a part to the action on it; 0: at once. A part that is not
            decided by then is undecided.
        undecided: what a part without a verdict means (its trigger was missed, its frame lost, its verdict late):
            `as_anomalous`: an anomaly of any class, area and confidence, which every rule but `normal` acts on; `safe`:
            the output goes to its safe state; `skip`: nothing.
        max_late_ms: an action that cannot be done within so many milliseconds after its time is dropped; null: 50 for
            `gpio` and `modbus`, no limit for the others.
        silent_after_s: seconds without a verdict after which the output goes to its safe state; 0: never.
        queue: actions that may wait for their time or for a slow output, 1 to 10000.
        failures: in a row, 1 to 3, after which the output is left alone for a while.
    """

    to: KindSettings
    when: RuleSettings = RuleSettings()
    lanes: Tuple[str, ...] = ()
    act_after_ms: float = 0.0
    undecided: Literal["as_anomalous", "safe", "skip"] = "as_anomalous"
    max_late_ms: Optional[float] = None
    silent_after_s: float = 0.0
    queue: int = 100
    failures: int = 3

    def __post_init__(self) -> None:
        if not 0 <= self.act_after_ms <= _MAX_AFTER_MS:
            raise ValueError(f"`act_after_ms` must be 0 to {_MAX_AFTER_MS}")
        if self.max_late_ms is not None and self.max_late_ms <= 0:
            raise ValueError("`max_late_ms` must be above 0, or null")
        if self.silent_after_s < 0:
            raise ValueError("`silent_after_s` must be 0 or more")
        if not 1 <= self.queue <= _MAX_QUEUE:
            raise ValueError(f"`queue` must be 1 to {_MAX_QUEUE}")
        if not 1 <= self.failures <= 3:
            raise ValueError("`failures` must be 1 to 3")
        if isinstance(self.to, PlcOutputSettings):
            if len(self.lanes) != 1:
                raise ValueError("`lanes` must name the one lane whose parts a `plc` handles")
            if self.undecided != "as_anomalous":
                raise ValueError("`undecided` has to be `as_anomalous` with `plc`: each of its triggers gets a result")

    def late_ns(self, *, drives: bool) -> int:
        """After its time, in nanoseconds, an action is dropped; 0: never."""
        late_ms = self.max_late_ms or (_DRIVES_LATE_MS if drives else 0.0)
        return round(late_ms * 1e6)
