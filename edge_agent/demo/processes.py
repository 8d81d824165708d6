"""The demo's processes: started, waited for, stopped, and their words kept for when something goes wrong."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Dict, List, Mapping, Optional, Pattern

from edge_agent.errors import EdgeAgentError

_STOP_S = 10.0


class Process:
    """One verb of `edge-agent` in a process of its own; what it says goes to a log file."""

    def __init__(self, name: str, arguments: List[str], directory: Path, environment: Mapping[str, str]) -> None:
        self.name = name
        self.log = directory / f"{name}.log"
        self.output = directory / f"{name}.out"
        variables: Dict[str, str] = {**os.environ, **environment}
        with self.log.open("wb") as log, self.output.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "edge_agent", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=log,
                env=variables,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def check(self) -> None:
        """Raise EdgeAgentError when the process has ended, with its last word."""
        code = self._process.poll()
        if code is not None:
            raise EdgeAgentError(self.name, f"ended with exit code {code} ({self._last_word()})", f"See {self.log}.")

    def wait_for(self, path: Path, seconds: float) -> None:
        """Wait until `path` exists."""
        deadline = time.monotonic() + seconds
        while not path.exists():
            self.check()
            if time.monotonic() > deadline:
                raise EdgeAgentError(self.name, f"was not ready within {seconds:g} s", f"See {self.log}.")
            time.sleep(0.02)

    def wait_for_word(self, pattern: Pattern[str], seconds: float) -> str:
        """Wait until its log has the pattern; its first group."""
        deadline = time.monotonic() + seconds
        while True:
            found = pattern.search(self.log.read_text(errors="replace"))
            if found:
                return found.group(1)
            self.check()
            if time.monotonic() > deadline:
                raise EdgeAgentError(self.name, f"was not ready within {seconds:g} s", f"See {self.log}.")
            time.sleep(0.02)

    def stop(self) -> Optional[int]:
        """SIGTERM, and SIGKILL when that does not end it; the exit code."""
        if self._process.poll() is None:
            self._process.terminate()
        try:
            return self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def _last_word(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"
