"""What was decided about a part, as the registers of a PLC have it."""

from __future__ import annotations

from typing import List, Sequence, Tuple

from edge_agent.inspection import findings
from edge_agent.modbus.handshake_map import UNNUMBERED
from edge_agent.modbus.protocol import split
from edge_agent.outputs.base import Action

#: 0 is the safe state.
SAFE, NORMAL, ANOMALOUS, UNDECIDED = 0, 1, 2, 3


def decision(action: Action) -> Tuple[int, int, int]:
    """Verdict, confidence in 1/1000, area of all classes in 1/10000."""
    inspection = action.inspection
    if inspection is None:
        return UNDECIDED, 0, 0
    area = sum(area for _name, area in classes(action))
    verdict = ANOMALOUS if inspection.is_anomalous else NORMAL
    return verdict, round(inspection.confidence * 1000), min(10_000, round(area * 10_000))


def decision_words(action: Action) -> List[int]:
    """`decision`, and the sequence number of the frame in two registers."""
    return [*decision(action), *split(action.part.sequence or 0)]


def class_number(action: Action, names: Sequence[str]) -> int:
    """The place, from 1, among `names` of the class with the largest area; 0: no class was found."""
    found = classes(action)
    if not found:
        return 0
    largest = max(found, key=lambda one: one[1])[0]
    return list(names).index(largest) + 1 if largest in names else UNNUMBERED


def classes(action: Action) -> List[Tuple[str, float]]:
    """Name and area of each class that was found."""
    anomalies = () if action.inspection is None else action.inspection.anomalies
    return [(anomaly.name, anomaly.area) for anomaly in findings(anomalies)]
