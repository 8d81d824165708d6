"""One rendered part, with what is wrong with it and where."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import FrozenSet, Iterator, Optional, Tuple

import numpy as np
import numpy.typing as npt

from edge_agent.sample import defects, layout, scene, texture
from edge_agent.sample.defects import CLASS_NAMES

#: Share of anomalous parts in a stream, and of those that have a second defect.
ANOMALOUS_SHARE = 0.3
_SECOND_SHARE = 0.12

_MISSING = CLASS_NAMES.index("missing")


@dataclass(frozen=True)
class SamplePart:
    """A picture of a part and the truth about it.

    Attributes:
        seed: what it was drawn from.
        image: RGB, shape (480, 640, 3), uint8.
        mask: index into CLASS_NAMES for each pixel, shape (480, 640), uint8; 0 is background.
        classes: names of the defects that can be seen, in the order of CLASS_NAMES.
    """

    seed: int
    image: npt.NDArray[np.uint8] = field(repr=False)
    mask: npt.NDArray[np.uint8] = field(repr=False)
    classes: Tuple[str, ...]

    @property
    def is_anomalous(self) -> bool:
        return bool(self.classes)


def render_part(seed: int, *, defect: Optional[str] = "auto") -> SamplePart:
    """Draw the part that belongs to `seed`, always the same one.

    Args:
        seed: 0 to 2**32 - 1.
        defect: "scratch", "crack" or "missing"; None for a good part; "auto" lets the seed decide (about three
            parts in ten are anomalous, a few of them twice).

    Raises:
        ValueError: an unknown defect or a seed out of range.
    """
    random = texture.generator(seed)
    wanted = _wanted(defect, random)
    pose = scene.Pose.drawn(random)
    missing: FrozenSet[int] = frozenset([random.randint(0, layout.FEATURES)] if "missing" in wanted else [])
    u, v = pose.grid()
    mask = np.zeros(u.shape, dtype=np.uint8)
    light, covered = scene.flange(u, v, pose, missing, random)
    for index in missing:
        defects.mark_missing(mask, index, u, v)
    if "scratch" in wanted:
        defects.mark_scratches(light, mask, defects.draw_scratch(random), u, v)
    if "crack" in wanted:
        defects.mark_cracks(light, mask, defects.draw_crack(random), u, v)
    ground = scene.belt(random) * scene.shadow(u, v, pose)
    image = scene.expose(ground * (1 - covered) + light * covered, pose, random)
    classes = tuple(name for index, name in enumerate(CLASS_NAMES) if index and (mask == index).any())
    return SamplePart(seed=seed, image=image, mask=mask, classes=classes)


def part_stream(seed: int, *, anomalous_share: Optional[float] = None) -> Iterator[SamplePart]:
    """Parts without end, as a line makes them: a fixed sequence for each seed and share.

    Args:
        seed: 0 to 2**32 - 1.
        anomalous_share: how many have one defect, 0..1; None: each part's own seed decides, about 30 % are anomalous.
    """
    random = texture.generator(seed)
    names = CLASS_NAMES[1:]
    while True:
        part = int(random.randint(0, 2**32, dtype=np.uint32))
        if anomalous_share is None:
            yield render_part(part)
        else:
            anomalous, which = random.uniform(size=2)
            yield render_part(part, defect=names[int(which * len(names))] if anomalous < anomalous_share else None)


def _wanted(defect: Optional[str], random: np.random.RandomState) -> FrozenSet[str]:
    # Drawn whatever is asked for, so that a seed has one pose and one texture, good or bad.
    anomalous, second, first, other = random.uniform(size=4)
    names = CLASS_NAMES[1:]
    if defect is None:
        return frozenset()
    if defect != "auto":
        if defect not in names:
            raise ValueError(f"unknown defect {defect!r}: one of {', '.join(names)}, auto or None")
        return frozenset([defect])
    if anomalous >= ANOMALOUS_SHARE:
        return frozenset()
    chosen = {names[int(first * len(names))]}
    if second < _SECOND_SHARE:
        chosen.add(names[int(other * len(names))])
    return frozenset(chosen)
