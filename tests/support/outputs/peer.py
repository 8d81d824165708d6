"""What every peer of an output can do."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar, Dict, Optional

from support.outputs.parts import answers, free_port
from support.waiting import until

TESTS = Path(__file__).parents[2]


class Peer:
    """One kind of output's other side. A kind's peer overrides what differs.

    Attributes:
        name: of the kind.
        notices: whether the output itself notices that the peer is away (what a spool bridges, it does not).
        can_hang: whether the peer can be there and not answer.
        has_state: whether the peer can tell a safe output from a working one.
    """

    name: ClassVar[str]
    notices: ClassVar[bool] = True
    can_hang: ClassVar[bool] = False
    has_state: ClassVar[bool] = True

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @classmethod
    def missing(cls) -> str:
        """What this machine lacks; empty: nothing."""
        return ""

    def settings(self) -> Dict[str, Any]:
        """`to` of the output."""
        raise NotImplementedError

    def start(self) -> None:
        """Put it up, also again after `stop`."""
        raise NotImplementedError

    def stop(self) -> None:
        """Take it away; any number of times."""
        raise NotImplementedError

    def hang(self) -> None:
        """From now on it is there and does not answer."""
        raise NotImplementedError

    def resume(self) -> None:
        """It answers again."""
        raise NotImplementedError

    def applied(self) -> int:
        """How many actions it has seen since `start`."""
        raise NotImplementedError

    def is_safe(self) -> bool:
        """Whether what it sees now is the safe state."""
        raise NotImplementedError

    def close(self) -> None:
        self.stop()


class ProcessPeer(Peer):
    """A process of its own, which listens on `port`."""

    can_hang = True

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.port = free_port()
        self._process: Optional["subprocess.Popen[bytes]"] = None

    def launch(self, module: str, *arguments: str, seconds: float = 20.0) -> None:
        """Start a module of these tests, and wait until it answers."""
        command = [sys.executable, "-m", module, str(self.port), *arguments]
        self._process = subprocess.Popen(command, cwd=TESTS, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(lambda: answers(self.port), seconds)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def hang(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)
