"""Cameras and their lanes: how fast frames get into slots, what is lost on the way, what lanes take from one another.

Each part adds its figures under its own name; PARTS is where another one is added.
"""

from __future__ import annotations

import argparse
import json
from typing import Any, Callable, Dict, NamedTuple

from benchmarks import cameras_gige, cameras_lanes, cameras_video, machine


class Part(NamedTuple):
    """One kind of camera, or one question.

    Attributes:
        measure: called with whether a quick look will do; gives the figures.
        settings: what the figures depend on.
    """

    measure: Callable[[bool], Dict[str, Any]]
    settings: Callable[[], Dict[str, Any]]


PARTS: Dict[str, Part] = {
    "gige": Part(cameras_gige.measure, cameras_gige.settings),
    "lanes": Part(cameras_lanes.measure, cameras_lanes.settings),
    "video": Part(cameras_video.measure, cameras_video.settings),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a fifth of the frames in one round, for a look")
    parser.add_argument("--part", choices=sorted(PARTS), action="append", help="this one alone; may be given again")
    options = parser.parse_args()
    chosen = {name: PARTS[name] for name in options.part or PARTS}
    figures = {name: part.measure(options.quick) for name, part in chosen.items()}
    settings = {"quick": options.quick, **{name: part.settings() for name, part in chosen.items()}}
    print(json.dumps({"machine": machine.describe(), "settings": settings, "figures": figures}, indent=1))


if __name__ == "__main__":
    main()
