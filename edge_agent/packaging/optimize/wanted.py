"""What may be asked for; known without the libraries that do it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, Sequence

#: `none` leaves a network as it is; the others say in how many bits it computes.
NONE, FP32, FP16, INT8 = "none", "fp32", "fp16", "int8"
CHOICES = (NONE, FP32, FP16, INT8)


class Wanted(NamedTuple):
    """How a network is to be.

    Attributes:
        precision: one of CHOICES but NONE.
        gpu: whether the target has an NVIDIA accelerator.
        images: files of typical ones, by which INT8 is calibrated beside the golden images.
        threads: of the inferences that check it.
    """

    precision: str
    gpu: bool
    images: Sequence[Path] = ()
    threads: int = 1
