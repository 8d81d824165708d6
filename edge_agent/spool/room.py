"""What goes when there is no room: the three policies."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import List, Tuple

from edge_agent.spool.ledger import Change
from edge_agent.spool.pending import Waiting
from edge_agent.spool.record import Marks, frame_size
from edge_agent.spool.store import Store

#: The file has reached its limit.
OVERFLOW = "overflow"
#: The disk has no room.
DISK_FULL = "disk_full"

# Records read at once to be evicted: what a few pages hold.
_EVICTED_AT_ONCE = 16


def make_room(
    store: Store, policy: str, incoming: List[Waiting], marks: Marks, change: Change
) -> Tuple[List[Waiting], Marks]:
    """Inside a transaction: expire until what is left of `incoming` fits below the limit of the file.

    Args:
        store: with a transaction open.
        policy: of SpoolSettings.
        incoming: to be inserted.
        marks: of the ledger. Nothing that is out for delivery (up to `taken`) is expired.
        change: what expires is noted here.

    Returns:
        What may be inserted, and the marks with how far the policy has been.
    """
    left = list(incoming)
    while left and not store.has_room(frame_size(item.entry.lane, item.entry.body) for item in left):
        evicted, marks = _evict(store, policy, marks, change, OVERFLOW, spare_anomalies=not _all_anomalous(left))
        if not evicted:
            refused = left.pop(_refused(policy, left))
            change.refused[refused.entry.lane, OVERFLOW] += 1
    return left, marks


def evict_bytes(store: Store, policy: str, size: int, marks: Marks, change: Change) -> Marks:
    """Inside a transaction: expire what the policy lets go until pages for `size` bytes are free, if it can."""
    while size > 0:
        freed, marks = _evict(store, policy, marks, change, DISK_FULL, spare_anomalies=False)
        if not freed:
            break
        size -= freed
    return marks


def _evict(
    store: Store, policy: str, marks: Marks, change: Change, cause: str, *, spare_anomalies: bool
) -> Tuple[int, Marks]:
    """Expire a few records; gives their bytes, 0 when the policy lets none go."""
    if policy == "keep_oldest":
        return 0, marks
    after = max(marks.taken, marks.evicted)
    victims = []
    if policy == "keep_anomalies":
        victims = store.read(max(after, marks.evicted_normal), _EVICTED_AT_ONCE, normal_only=True)
        # Where none is left, the next look begins behind all that was looked through.
        marks = replace(marks, evicted_normal=victims[-1].id if victims else store.last_id)
        if not victims and spare_anomalies:
            return 0, marks
    if not victims:
        victims = store.read(after, _EVICTED_AT_ONCE)
        if victims:
            marks = replace(marks, evicted=victims[-1].id)
    store.delete([victim.id for victim in victims])
    change.evicted.update(Counter((victim.lane, cause) for victim in victims))
    return sum(frame_size(victim.lane, victim.body) for victim in victims), marks


def _refused(policy: str, incoming: List[Waiting]) -> int:
    """Which of the new ones goes."""
    if policy == "keep_oldest":
        return len(incoming) - 1
    if policy == "keep_anomalies":
        for index, item in enumerate(incoming):
            if not item.entry.anomalous:
                return index
    return 0


def _all_anomalous(incoming: List[Waiting]) -> bool:
    return all(item.entry.anomalous for item in incoming)
