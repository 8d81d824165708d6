"""Inference units: how many engines of a model are kept and allowed, and what each gets of the machine's threads.

An engine computes on the server's threads divided by its model's largest number of units. So a model that has all its
units at work fills the machine and never more, and so do several models that allow as many units as there are models.
"""

from __future__ import annotations

import threading
from typing import Callable, Dict, List, NamedTuple, Tuple

from edge_agent.errors import ConfigError
from edge_agent.model import Manifest
from edge_agent.model.manifest import MAX_UNITS

#: Asks a model's line to try again; called without any lock held.
Wake = Callable[[], None]


class InferenceUnits(NamedTuple):
    """What a model asks for, in the service's terms: MinInferenceUnits and MaxInferenceUnits."""

    minimum: int = 1
    maximum: int = 1


class Share(NamedTuple):
    """What a model gets: engines kept, engines allowed, and threads of each."""

    kept: int
    allowed: int
    threads: int


def parse_units(text: str) -> Tuple[str, InferenceUnits]:
    """(model component, units) of `NAME=MIN:MAX`, or of `NAME=N` for both.

    Raises:
        ConfigError: another form, or numbers outside of 1 to 64.
    """
    name, _, numbers = text.rpartition("=")
    least, _, most = numbers.partition(":")
    if not (name and least.isdecimal() and (most or least).isdecimal()):
        raise ConfigError(f"units {text!r}", "is not of the form NAME=MIN:MAX", "Write, for example, bolts=1:2.")
    units = InferenceUnits(int(least), int(most or least))
    if not 1 <= units.minimum <= units.maximum <= MAX_UNITS:
        raise ConfigError(f"units {text!r}", f"is not 1 to {MAX_UNITS} units, the smaller number first")
    return name, units


def units_of(manifest: Manifest) -> InferenceUnits:
    """What a package asks for; 1 and 1 where it says nothing."""
    minimum = manifest.package.min_inference_units or 1
    return InferenceUnits(minimum, manifest.package.max_inference_units or minimum)


def share_of(units: InferenceUnits, threads: int) -> Share:
    """A model's share of a machine with so many threads: at least one a unit, and no unit without a thread."""
    each = max(1, threads // units.maximum)
    allowed = min(units.maximum, threads // each)
    return Share(min(units.minimum, allowed), allowed, each)


class ThreadBudget:
    """Threads that compute, of all models together.

    The first inference of a model is always allowed: no model ever waits for another. A further one of the same model
    needs free threads. So more than `threads` compute only where several models are busy at once and their units do not
    leave room for one another.

    Args:
        threads: of the machine, for inferences.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._used = 0
        self._waiting: Dict[Wake, None] = {}
        self._lock = threading.Lock()

    def take(self, threads: int, wake: Wake, *, first: bool) -> bool:
        """Take threads for one inference, or have `wake` called once when some are free again."""
        with self._lock:
            if not first and self._used + threads > self.threads:
                self._waiting[wake] = None
                return False
            self._used += threads
            return True

    def give_back(self, threads: int) -> List[Wake]:
        """Give them back; whoever calls this calls what it returns, in that order."""
        with self._lock:
            self._used -= threads
            waiting, self._waiting = list(self._waiting), {}
            return waiting

    @property
    def used(self) -> int:
        with self._lock:
            return self._used
