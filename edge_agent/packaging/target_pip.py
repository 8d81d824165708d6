"""pip on behalf of another machine's Python: `python -m edge_agent.packaging.target_pip PYTHON MACHINE ARGUMENT...`.

`pip download` picks files by `--python-version` and `--platform`, but evaluates the markers of requirements
(`; python_version < "3.9"`, `; platform_machine == "aarch64"`) for the interpreter it runs on, and so resolves a
wrong set for any other target. Here the markers see the target. It is a process of its own because it changes pip.
"""

from __future__ import annotations

import importlib
import runpy
import sys
from typing import Any, Dict, List


def marker_environment(python: str, machine: str, own: Dict[str, str]) -> Dict[str, str]:
    """What markers see on CPython `python` ("3.8") on Linux on `machine`; `own` fills in the rest."""
    return {
        **own,
        "implementation_name": "cpython",
        "implementation_version": f"{python}.0",
        "os_name": "posix",
        "platform_machine": machine,
        "platform_python_implementation": "CPython",
        "platform_system": "Linux",
        "python_full_version": f"{python}.0",
        "python_version": python,
        "sys_platform": "linux",
    }


def main(arguments: List[str]) -> None:
    python, machine, *pip_arguments = arguments
    # importlib: pip's inner modules have no stubs and no promise; what is needed of them is checked below.
    markers: Any = importlib.import_module("pip._vendor.packaging.markers")
    environment = marker_environment(python, machine, markers.default_environment())
    markers.default_environment = lambda: dict(environment)
    probe = f"python_version == '{python}' and platform_machine == '{machine}'"
    if not markers.Marker(probe).evaluate():
        sys.exit("this release of pip cannot resolve for another Python: upgrade it (pip install --upgrade pip)")
    sys.argv = ["pip", *pip_arguments]
    runpy.run_module("pip", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])
