"""A line in a plant: from the camera to the gate, and what people and the recorder cost it.

Each part of the benchmark adds its figures under its own name; docs/benchmarks.md says what they mean.
"""

from __future__ import annotations

import argparse
import json
import os
from typing import Any, Callable, Dict, List

from benchmarks import line_load, line_outputs, line_parts, machine
from benchmarks.line_site import Share
from edge_agent.allocator import keep_freed_memory

_QUICK_LOADS = ("1x600", "4x1200")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="seconds in place of minutes, for a look")
    parser.add_argument("--part", choices=sorted(PARTS), action="append", help="this one alone; may be given again")
    parser.add_argument("--load", choices=sorted(line_parts.LOADS), action="append", help="of `parts`, this one alone")
    parser.add_argument("--seconds", type=float, help="of each load of `parts`; 60 if not given, 2 with --quick")
    parser.add_argument("--turns", type=int, help="with viewers or recorder; 10 if not given, 1 with --quick")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="of the model server")
    parser.add_argument("--units", type=int, default=1, help="engines of the model that share them")
    options = parser.parse_args()
    keep_freed_memory()
    loads = [os.getloadavg()[0]]
    figures: Dict[str, Any] = {}
    for name in options.part or PARTS:
        figures[name] = PARTS[name](options)
        loads.append(os.getloadavg()[0])
    settings = {
        "quick": options.quick,
        "threads": options.threads,
        "units": options.units,
        "outputs": line_outputs.settings(),
        "turn_s": _turn_s(options),
        # Whatever else the machine does is in these, too, and in every figure.
        "load_average": [round(load, 2) for load in loads],
    }
    print(json.dumps({"machine": machine.describe(), "settings": settings, "figures": figures}, indent=1))


def _parts(options: argparse.Namespace) -> Dict[str, Any]:
    names: List[str] = options.load or list(_QUICK_LOADS if options.quick else line_parts.LOADS)
    seconds = options.seconds or (2.0 if options.quick else 60.0)
    return {name: line_parts.measure(line_parts.LOADS[name], seconds, _share(options)) for name in names}


def _outputs(options: argparse.Namespace) -> Dict[str, Any]:
    return line_outputs.measure(20 if options.quick else 600)


def _viewers(options: argparse.Namespace) -> Dict[str, Any]:
    return line_load.viewers(_turns(options), _turn_s(options), _share(options))


def _recorder(options: argparse.Namespace) -> Dict[str, Any]:
    return line_load.recorder(_turns(options), _turn_s(options), _share(options))


def _share(options: argparse.Namespace) -> Share:
    return Share(options.threads, options.units)


def _turns(options: argparse.Namespace) -> int:
    turns: int = options.turns or (1 if options.quick else 10)
    return turns


def _turn_s(options: argparse.Namespace) -> float:
    return 1.0 if options.quick else 8.0


PARTS: Dict[str, Callable[[argparse.Namespace], Dict[str, Any]]] = {
    "parts": _parts,
    "outputs": _outputs,
    "viewers": _viewers,
    "recorder": _recorder,
}


if __name__ == "__main__":
    main()
