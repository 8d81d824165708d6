"""`python -m edge_agent.packaging`: what scripts/build_components runs."""

from __future__ import annotations

import argparse
import platform
import sys
from pathlib import Path

from edge_agent.errors import EdgeAgentError
from edge_agent.packaging.build import COMPONENTS, FURTHER_EXTRAS, build, machines_and_pythons, with_extras
from edge_agent.packaging.wheels import MACHINES, PYTHONS

_SOURCE = Path(__file__).resolve().parents[2]
_HERE = f"{sys.version_info[0]}.{sys.version_info[1]}"


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/build_components",
        description="Builds the Greengrass components: recipes and artifacts for local and cloud deployments.",
        epilog="A device that is none of the targets installs from the package index. docs/deploy.md says how to deploy.",
    )
    parser.add_argument(
        "--python", nargs="+", default=[_HERE], choices=PYTHONS, help="Python versions to carry wheels for"
    )
    parser.add_argument(
        "--arch", nargs="+", default=[platform.machine()], choices=list(MACHINES), help="machines to carry them for"
    )
    parser.add_argument(
        "--with",
        nargs="+",
        default=[],
        choices=FURTHER_EXTRAS,
        metavar="EXTRA",
        dest="extras",
        help=f"of the inspector, such as aws for uploads to S3: {', '.join(FURTHER_EXTRAS)}",
    )
    parser.add_argument("--out", type=Path, default=_SOURCE / "build" / "greengrass", help="default: build/greengrass")
    parser.add_argument("--bucket", default="", help="S3 bucket that the recipes name, for cloud deployments")
    parser.add_argument("--prefix", default="", help="path in the bucket")
    parser.add_argument(
        "--component",
        nargs="+",
        default=[component.file for component in COMPONENTS],
        choices=[component.file for component in COMPONENTS],
        help="default: all",
    )
    parser.add_argument(
        "--gdk", action="store_true", help="recipes are named as the Greengrass Development Kit wants it"
    )
    options = parser.parse_args()
    components = [with_extras(one, options.extras) for one in COMPONENTS if one.file in options.component]
    if options.gdk and len(components) != 1:
        parser.error("--gdk goes with one --component: a project of the kit has one")
    targets = machines_and_pythons(options.python, options.arch)
    try:
        build(
            _SOURCE,
            options.out,
            targets,
            bucket=options.bucket,
            prefix=options.prefix,
            components=components,
            # The kit looks for the name that its recipe.yaml, a link to this file, leads to.
            **({"recipe_name": f"{components[0].file}.yaml"} if options.gdk else {}),
            report=lambda line: print(line, flush=True),  # noqa: T201 - the script's output
        )
    except EdgeAgentError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - the script's output
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
