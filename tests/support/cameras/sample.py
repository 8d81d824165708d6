from __future__ import annotations

import itertools
from typing import Any, Dict, List, Tuple

import numpy as np
from support.cameras.rig import Rig

from edge_agent.frame import Pixels
from edge_agent.sample import part_stream


class SampleRig(Rig):
    name = "sample"
    frames = 4
    has_source = False

    def settings(self) -> Dict[str, Any]:
        return {"type": "sample", "rate": 0, "seed": 7, "count": 4, "anomalous_share": 0.5}

    def start(self) -> None:
        self._parts = list(itertools.islice(part_stream(7, anomalous_share=0.5), 4))

    def stop(self) -> None:
        """It has no source."""

    def bad_settings(self) -> List[Tuple[Dict[str, Any], str]]:
        return [
            ({"rate": -1}, "rate"),
            ({"seed": 2**32}, "seed"),
            ({"anomalous_share": 1.5}, "anomalous_share"),
            ({"count": -1}, "count"),
            ({"width": 63}, "width"),
            ({"height": 4097}, "height"),
        ]

    def check(self, pixels: Pixels) -> int:
        numbers = [number for number, part in enumerate(self._parts) if np.array_equal(part.image, pixels)]
        assert len(numbers) == 1
        return numbers[0]

    def shape(self) -> Tuple[int, int]:
        return 480, 640
