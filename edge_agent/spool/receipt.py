"""What is out for delivery."""

from __future__ import annotations

from typing import Callable, List


class Receipt:
    """Inspections taken out of the spool, in order. Settle it once, by one of its two methods.

    Attributes:
        bodies: their JSON.
    """

    def __init__(self, bodies: List[bytes], on_delivered: Callable[[], None], on_kept: Callable[[], None]) -> None:
        self.bodies = bodies
        self._on_delivered = on_delivered
        self._on_kept = on_kept
        self._settled = False

    def delivered(self) -> None:
        """The nucleus has them. Returns when the disk knows it, so that a kill repeats no more than one receipt."""
        self._settle()
        self._on_delivered()

    def keep(self) -> None:
        """Not delivered: they are the oldest that wait again."""
        self._settle()
        self._on_kept()

    def _settle(self) -> None:
        if self._settled:
            raise RuntimeError("a receipt was settled twice")
        self._settled = True
