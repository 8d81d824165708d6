"""A whole line of real processes for an experiment: model server, local nucleus, inspector."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional

import psutil
from support.messages import published

from edge_agent import sample


class Line:
    """Started by its maker, ended by `kill_all`.

    Args:
        scratch: an empty directory; `images/` below it is there for folder cameras.
        lanes: settings of the inspector's lanes.
        models: directory of the server's models; the sample's if not given.
        others: more of the inspector's settings.
        threads: of the server; as many as there are cores if not given.
    """

    def __init__(
        self,
        scratch: Path,
        lanes: Mapping[str, Any],
        *,
        models: Optional[Path] = None,
        others: Optional[Mapping[str, Any]] = None,
        threads: Optional[int] = None,
    ) -> None:
        self.scratch = scratch
        self.socket = str(scratch / "server.sock")
        self._models = models or sample.models_directory()
        self._threads = [] if threads is None else ["--threads", str(threads)]
        self._record = scratch / "record.jsonl"
        self._nucleus_socket = str(scratch / "nucleus.sock")
        self._component = {
            **os.environ,
            "SVCUID": "faults",
            "AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT": self._nucleus_socket,
            "AWS_IOT_THING_NAME": "faults",
        }
        self._configuration = scratch / "inspector.json"
        self._configuration.write_text(
            json.dumps(
                {
                    "socket": self.socket,
                    "publish": {"topic": "faults/inspections"},
                    "spool": {"path": str(scratch / "spool")},
                    "lanes": dict(lanes),
                    **(others or {}),
                }
            )
        )
        self._log = (scratch / "log").open("wb")
        self.server = self.start_server()
        arguments = ["nucleus", "--socket", self._nucleus_socket, "--record", str(self._record), "--thing", "faults"]
        self.nucleus = self._launch(arguments, self._component)
        wait_for_path(Path(self._nucleus_socket))
        wait_for_path(Path(self.socket))
        self.inspector = self.start_inspector()

    def start_server(self) -> subprocess.Popen[bytes]:
        arguments = ["serve", "--models", str(self._models), "--socket", self.socket, *self._threads]
        self.server = self._launch(arguments, dict(os.environ))
        return self.server

    def start_inspector(self) -> subprocess.Popen[bytes]:
        arguments = ["run", "--config", str(self._configuration)]
        self.inspector = self._launch(arguments, self._component, subprocess.PIPE)
        return self.inspector

    def messages(self) -> List[Dict[str, Any]]:
        """Every inspection that reached the nucleus, in the order of its arrival."""
        return published(self._record)

    def inspector_pss_mb(self) -> float:
        return float(psutil.Process(self.inspector.pid).memory_full_info().pss) / 1e6

    def finish(self) -> Dict[str, Any]:
        """Stop the inspector in order; its accounting by lane."""
        self.inspector.terminate()
        output, _ = self.inspector.communicate(timeout=20)
        accounting: Dict[str, Any] = json.loads(output.decode().strip().splitlines()[-1])["accounting"]
        return accounting

    def kill_all(self) -> None:
        for process in (self.inspector, self.nucleus, self.server):
            if process.poll() is None:
                process.terminate()
                process.wait(20)
            if process.stdout is not None:
                process.stdout.close()
        self._log.close()

    def log(self) -> str:
        return (self.scratch / "log").read_text(errors="replace")

    def _launch(
        self, arguments: List[str], environment: Dict[str, str], output: int = subprocess.DEVNULL
    ) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "edge_agent", *arguments]
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=self._log, env=environment)


def wait_for_path(path: Path) -> None:
    wait_until(path.exists, f"{path} did not appear")


def wait_until(condition: Callable[[], bool], words: str, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(words)
        time.sleep(0.02)
