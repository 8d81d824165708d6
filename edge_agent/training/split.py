"""Which images are held out."""

from __future__ import annotations

from typing import Dict, List, Sequence, Set, Tuple

import numpy as np

from edge_agent.errors import TrainingError
from edge_agent.training.ground_truth import Example, LabelledSet

#: Fewest images of each kind, good and bad: one to hold out and some to learn from.
MIN_OF_EACH = 4


def split(labelled: LabelledSet, holdout: float, seed: int) -> Tuple[List[Example], List[Example]]:
    """Share the examples out into (training, held out), each in the manifest's order.

    Each kind of image (normal, or anomalous with the same classes in its colour map) gives its share to the held-out
    set; good and bad images are held out at least once each.

    Raises:
        TrainingError: too few images of a kind, or a share that leaves too few for training.
    """
    for anomalous, name in ((False, "normal"), (True, "anomalous")):
        count = sum(example.is_anomalous == anomalous for example in labelled.examples)
        if count < MIN_OF_EACH:
            raise TrainingError(
                str(labelled.manifest), f"holds {count} {name} images", f"At least {MIN_OF_EACH} are needed."
            )
    random = np.random.RandomState(seed)
    held: Set[str] = set()
    for anomalous in (False, True):
        kinds = _kinds([example for example in labelled.examples if example.is_anomalous == anomalous])
        shuffled = [[kind[place] for place in random.permutation(len(kind))] for kind in kinds]
        total = sum(len(kind) for kind in kinds)
        wanted = min(max(1, round(holdout * total)), total - 2)
        held.update(example.place for example in _evenly(shuffled, wanted))
    training = [example for example in labelled.examples if example.place not in held]
    return training, [example for example in labelled.examples if example.place in held]


def _kinds(examples: Sequence[Example]) -> List[List[Example]]:
    kinds: Dict[Tuple[str, ...], List[Example]] = {}
    for example in examples:
        kinds.setdefault(tuple(sorted(example.colors)), []).append(example)
    return list(kinds.values())


def _evenly(kinds: List[List[Example]], wanted: int) -> List[Example]:
    """`wanted` examples, from each kind in proportion to its size."""
    ranked = [
        ((place + 0.5) / len(kind), number, kind[place])
        for number, kind in enumerate(kinds)
        for place in range(len(kind))
    ]
    ranked.sort(key=lambda entry: entry[:2])
    return [example for _, _, example in ranked[:wanted]]
