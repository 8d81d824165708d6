"""The filter that keeps foreign code from the network, judged by running its program as the kernel would."""

from __future__ import annotations

import errno
import platform
import socket
import subprocess
import sys
from typing import List, Optional, Sequence, Tuple

import pytest

from edge_agent.model.neo.no_network import Instruction, filter_program, forbid_network

X86_64, AARCH64, I386, ARM = 0xC000003E, 0xC00000B7, 0x40000003, 0x40000028  # <linux/audit.h>
ALLOWED = 0x7FFF0000


def verdict(program: Sequence[Instruction], number: int, architecture: int, argument: int) -> int:
    """A BPF machine for what the kernel's seccomp(2) says of its programs."""
    data = {0: number, 4: architecture, 16: argument & 0xFFFFFFFF, 20: argument >> 32}
    loaded, at = 0, 0
    while True:
        code, if_true, if_false, value = program[at]
        at += 1
        if code == 0x20:
            loaded = data[value]
        elif code == 0x15:
            at += if_true if loaded == value else if_false
        elif code == 0x35:
            at += if_true if loaded >= value else if_false
        else:
            assert code == 0x06
            return value


def refused(number: int) -> int:
    return 0x00050000 | number


LOCAL = (socket.AF_UNIX, socket.AF_NETLINK)
CASES: List[Tuple[str, Tuple[int, ...], int, int, int, Optional[int]]] = [
    ("x86_64", LOCAL, 41, X86_64, socket.AF_INET, errno.EAFNOSUPPORT),
    ("x86_64", LOCAL, 41, X86_64, socket.AF_INET6, errno.EAFNOSUPPORT),
    ("x86_64", LOCAL, 41, X86_64, socket.AF_UNIX, None),
    ("x86_64", LOCAL, 41, X86_64, socket.AF_NETLINK, None),
    ("x86_64", (), 41, X86_64, socket.AF_UNIX, errno.EAFNOSUPPORT),
    ("x86_64", LOCAL, 41, X86_64, 1 << 32 | socket.AF_INET, errno.EAFNOSUPPORT),  # the kernel looks at the lower half
    ("x86_64", LOCAL, 1 << 30 | 41, X86_64, socket.AF_UNIX, errno.ENOSYS),  # x32
    ("x86_64", LOCAL, 359, I386, socket.AF_INET, errno.ENOSYS),
    ("x86_64", LOCAL, 102, I386, 1, errno.ENOSYS),  # socketcall
    ("x86_64", LOCAL, 425, X86_64, 8, errno.ENOSYS),  # io_uring_setup
    ("x86_64", LOCAL, 0, X86_64, socket.AF_INET, None),  # read, from descriptor 2
    ("x86_64", LOCAL, 198, X86_64, socket.AF_INET, None),  # another call than on aarch64
    ("aarch64", LOCAL, 198, AARCH64, socket.AF_INET, errno.EAFNOSUPPORT),
    ("aarch64", LOCAL, 198, AARCH64, socket.AF_UNIX, None),
    ("aarch64", (), 198, AARCH64, socket.AF_UNIX, errno.EAFNOSUPPORT),
    ("aarch64", LOCAL, 425, AARCH64, 8, errno.ENOSYS),
    ("aarch64", LOCAL, 281, ARM, socket.AF_INET, errno.ENOSYS),
    ("aarch64", LOCAL, 41, AARCH64, socket.AF_INET, None),
]


@pytest.mark.parametrize(("machine", "families", "number", "architecture", "argument", "error"), CASES)
def test_the_verdict_of_the_program(
    machine: str, families: Tuple[int, ...], number: int, architecture: int, argument: int, error: Optional[int]
) -> None:
    found = verdict(filter_program(machine, families), number, architecture, argument)
    assert found == (ALLOWED if error is None else refused(error))


_TRY = """
import socket, sys
from edge_agent.model.neo.no_network import forbid_network
print(forbid_network([socket.AF_UNIX]))
for family in (socket.AF_UNIX, socket.AF_INET):
    try:
        socket.socket(family).close()
        print("made")
    except OSError as error:
        print(error.errno)
print([line for line in open("/proc/self/status") if line.startswith(("Seccomp:", "NoNewPrivs:"))])
"""


def test_the_kernel_takes_the_program() -> None:
    if platform.machine() not in ("x86_64", "aarch64"):
        pytest.skip("there is no filter for this machine")
    found = subprocess.run([sys.executable, "-c", _TRY], stdout=subprocess.PIPE, text=True, check=True).stdout
    assert found.splitlines() == ["None", "made", str(errno.EAFNOSUPPORT), r"['NoNewPrivs:\t1\n', 'Seccomp:\t2\n']"]


def test_a_machine_without_a_filter_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    assert forbid_network([]) == "no filter for riscv64 is known; telemetry of foreign code is not shut out"
