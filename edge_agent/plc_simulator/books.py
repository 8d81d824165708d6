"""What became of the parts in front of a simulated PLC's camera.

parts        = at_camera + passed + acknowledged + missed
acknowledged = awaited + good + rejected + undecided + without_result
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict


@dataclass
class LineBooks:
    """Attributes:
    parts: that came.
    at_camera: in front of the camera, or waiting to be.
    passed: unseen: the inspector was not ready in time.
    acknowledged: the inspector took the trigger.
    missed: the inspector said that it could not, or did not answer.
    awaited: acknowledged, without a result yet.
    good, rejected, undecided: by the result; what is undecided is rejected, too.
    without_result: acknowledged, and the inspector was started anew, or the time was over.
    strays: results of parts that none is expected for, beside the equations.
    overruns: how often the inspector said that results were lost, beside the equations.
    """

    parts: int = 0
    at_camera: int = 0
    passed: int = 0
    acknowledged: int = 0
    missed: int = 0
    awaited: int = 0
    good: int = 0
    rejected: int = 0
    undecided: int = 0
    without_result: int = 0
    strays: int = 0
    overruns: int = 0

    def balanced(self) -> bool:
        judged = self.good + self.rejected + self.undecided
        return (
            self.parts == self.at_camera + self.passed + self.acknowledged + self.missed
            and self.acknowledged == self.awaited + judged + self.without_result
        )

    def as_dict(self) -> Dict[str, Any]:
        return {**vars(self), "balanced": self.balanced()}
