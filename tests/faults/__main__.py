"""`scripts/faults NAME [--count N] [--seed S]`."""

from __future__ import annotations

import argparse
import json
import sys

from faults.experiments import EXPERIMENTS


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/faults", description="Run one fault experiment.")
    parser.add_argument("name", choices=sorted(EXPERIMENTS))
    parser.add_argument(
        "--count", type=int, help="how often the fault happens; the experiment's full count if not given"
    )
    parser.add_argument("--seed", type=int, default=1, help="of every random choice")
    options = parser.parse_args()
    experiment = EXPERIMENTS[options.name]
    outcome = experiment.run(options.count or experiment.full_count, options.seed)
    print(json.dumps(outcome.as_dict(), indent=1))  # noqa: T201 - the interface
    sys.exit(0 if outcome.passed else 1)


if __name__ == "__main__":
    main()
