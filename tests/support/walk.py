"""Runs the commands of a page of the documentation in their order, as a person at two terminals would."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Dict, List

CHECKOUT = Path(__file__).parents[2]


class Walk:
    """A page, in a directory of its own; a context manager, since servers go on in the background.

    Args:
        page: name of the file in docs/.
        folder: the working directory; it stands for /tmp in the page, too.
    """

    def __init__(self, page: str, folder: Path) -> None:
        self.text = (CHECKOUT / "docs" / page).read_text()
        self.folder = folder
        self._background: List["subprocess.Popen[bytes]"] = []
        (folder / "bin").mkdir()
        program = folder / "bin" / "edge-agent"
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m edge_agent "$@"\n')
        program.chmod(0o755)

    @property
    def steps(self) -> List[str]:
        """Their numbers as the page has them."""
        return re.findall(r"^(\d+)\. ", self.text, re.MULTILINE)

    @property
    def commands(self) -> List[str]:
        """The indented lines, eight blanks deep or more, that no fence holds."""
        text = re.sub(r"```.*?```", "", self.text, flags=re.DOTALL)
        lines = [line.strip() for line in text.splitlines() if line.startswith(" " * 8)]
        return [line.replace("/tmp/", f"{self.folder}/").replace("python3", sys.executable) for line in lines]

    def blocks(self, kind: str) -> List[str]:
        found = re.findall(rf"```{kind}\n(.*?)```", self.text, re.DOTALL)
        return [block.replace("/tmp/", f"{self.folder}/") for block in found]

    def run(self) -> Dict[str, str]:
        """What the commands printed, by their first two words. Servers go on until the walk ends."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("EDGE_AGENT_")}
        own = {"PATH": f"{self.folder / 'bin'}:{kept['PATH']}", "PYTHONPATH": str(CHECKOUT), "HOME": str(self.folder)}
        environment = {**kept, **own}
        printed: Dict[str, str] = {}
        sourced = ""
        for command in self.commands:
            if command.startswith(". "):
                sourced = f"{command} && "
            elif re.match("edge-agent (serve|nucleus) ", command):
                self._start(command, environment)
            else:
                done = subprocess.run(
                    ["/bin/sh", "-c", sourced + command],
                    cwd=self.folder,
                    env=environment,
                    timeout=120,
                    capture_output=True,
                    text=True,
                    check=False,
                )
                assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
                printed[" ".join(command.split()[:2])] = done.stdout
        return printed

    def _start(self, command: str, environment: Dict[str, str]) -> None:
        process = subprocess.Popen(
            ["/bin/sh", "-c", f"exec {command}"], cwd=self.folder, env=environment, start_new_session=True
        )
        self._background.append(process)
        for option in ("socket", "env-file"):
            match = re.search(rf"--{option} (\S+)", command)
            if match:
                _wait_for(self.folder / match.group(1), process)

    def __enter__(self) -> Walk:  # noqa: PYI034 - typing.Self is newer than Python 3.8
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
