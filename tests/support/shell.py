"""Two terminals of a person who follows the documentation: servers go on in one while commands run in the other."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import List

CHECKOUT = Path(__file__).parents[2]


class Shell:
    """A context manager; what was started in the background ends with it, the last one first.

    Args:
        folder: the working directory, with `edge-agent` on its PATH.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._background: List["subprocess.Popen[bytes]"] = []
        self._sourced = ""
        (folder / "bin").mkdir()
        program = folder / "bin" / "edge-agent"
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m edge_agent "$@"\n')
        program.chmod(0o755)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("EDGE_AGENT_")}
        own = {"PATH": f"{folder / 'bin'}:{kept['PATH']}", "PYTHONPATH": str(CHECKOUT), "HOME": str(folder)}
        self._environment = {**kept, **own}

    def do(self, command: str) -> str:
        """What it printed; nothing of a server, which is waited for until its socket is there."""
        if command.startswith(". "):
            self._sourced = f"{command} && "
            return ""
        if re.match("edge-agent (serve|nucleus) ", command):
            self._start(command)
            return ""
        done = subprocess.run(
            ["/bin/sh", "-c", self._sourced + command],
            cwd=self.folder,
            env=self._environment,
            timeout=120,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout

    def _start(self, command: str) -> None:
        process = subprocess.Popen(
            ["/bin/sh", "-c", f"exec {command}"], cwd=self.folder, env=self._environment, start_new_session=True
        )
        self._background.append(process)
        for option in ("socket", "env-file"):  # the latter is written right after the socket is there
            match = re.search(rf"--{option} (\S+)", command)
            if match:
                _wait_for(self.folder / match.group(1), process)

    def __enter__(self) -> Shell:  # noqa: PYI034 - typing.Self is newer than Python 3.8
        return self

    def __exit__(self, *_error: object) -> None:
        for process in reversed(self._background):
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(20)


def _wait_for(path: Path, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
