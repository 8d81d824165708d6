"""Colours of the classes in a mask, by class index.

Colours 0 to 20 are the published table of the Lookout for Vision edge applications (contract section 1.7). That table
has 104 entries, of which these 21 are documented; the colours from 21 on are ours: distinct, repeatable, and in no
other agent's table. Clients read `hex_color` from the result and assume nothing.
"""

from __future__ import annotations

import colorsys
from typing import List, Tuple

import numpy as np

from edge_agent.frame import Pixels

#: Classes a mask can hold: the size of the published table.
MAX_CLASSES = 104

# fmt: off
_PUBLISHED = (
    "#FFFFFF", "#23A436", "#14A3B3", "#F76902", "#9380FF", "#BD10E0", "#467CE6",
    "#A09308", "#0094BD", "#CC7700", "#5856D6", "#D61CB0", "#007AFF", "#8A6E00",
    "#2CA02C", "#3182BD", "#E6550D", "#8269FF", "#FF2EDC", "#2532EA", "#7C9F1E",
)
# fmt: on

_GOLDEN_RATIO = 0.618033988749895


def _further_colours(count: int) -> List[str]:
    """Hues a golden ratio apart, so that neighbours differ most, in three bands of brightness; none is used twice."""
    taken = set(_PUBLISHED)
    colours: List[str] = []
    step = 0
    while len(colours) < count:
        red, green, blue = colorsys.hsv_to_rgb((step * _GOLDEN_RATIO) % 1.0, 0.85, (0.95, 0.75, 0.55)[step % 3])
        colour = f"#{round(red * 255):02X}{round(green * 255):02X}{round(blue * 255):02X}"
        if colour not in taken:
            taken.add(colour)
            colours.append(colour)
        step += 1
    return colours


#: "#RRGGBB" by class index; background, index 0, is white.
HEX_COLORS: Tuple[str, ...] = (*_PUBLISHED, *_further_colours(MAX_CLASSES - len(_PUBLISHED)))


def rgb_table() -> Pixels:
    """The palette as RGB, shape (104, 3), uint8."""
    return np.array([list(bytes.fromhex(colour[1:])) for colour in HEX_COLORS], dtype=np.uint8)
