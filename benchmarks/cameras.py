"""Cameras: how fast frames get into their slots, and what is lost on the way.

Each part measures one kind of camera and adds its figures under its own name; PARTS is where another one is added.
"""

from __future__ import annotations

import argparse
import json
from typing import Any, Callable, Dict, NamedTuple

from benchmarks import cameras_gige, machine


class Part(NamedTuple):
    """One kind of camera.

    Attributes:
        measure: called with whether a quick look will do; gives the figures.
        settings: what the figures depend on.
    """

    measure: Callable[[bool], Dict[str, Any]]
    settings: Callable[[], Dict[str, Any]]


PARTS: Dict[str, Part] = {"gige": Part(cameras_gige.measure, cameras_gige.settings)}


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
