"""Keep a process that runs foreign code from the network, for good: a seccomp filter, which needs no privileges.

The kernel then refuses to make sockets, but for the families that are named; io_uring, which makes sockets past such a
filter, is refused as a whole, and so are system calls of other kinds of process (32-bit, x32), which have other numbers.
Threads and processes that are started later inherit all of it. See seccomp(2), <linux/filter.h> and <linux/audit.h>.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
from typing import List, NamedTuple, Optional, Sequence

_PR_SET_SECCOMP = 22
_PR_SET_NO_NEW_PRIVS = 38
_SECCOMP_MODE_FILTER = 2

# struct seccomp_data: int nr; u32 arch; u64 instruction_pointer; u64 args[6]. Little-endian, so that the lower half of
# the first argument is at 16; the kernel looks at that half alone (the family is an int).
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16

_LOAD = 0x20  # BPF_LD | BPF_W | BPF_ABS
_IF_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_IF_AT_LEAST = 0x35  # BPF_JMP | BPF_JGE | BPF_K
_RETURN = 0x06  # BPF_RET | BPF_K
_ALLOW = 0x7FFF0000
_REFUSE = 0x00050000  # | errno

_X32 = 0x40000000  # the bit of the numbers of x32, the third kind of process on x86_64
_IO_URING_SETUP = 425

_ADVICE = "telemetry of foreign code is not shut out"


class _Machine(NamedTuple):
    architecture: int  # AUDIT_ARCH_*
    socket: int  # number of the system call


_MACHINES = {"x86_64": _Machine(0xC000003E, 41), "aarch64": _Machine(0xC00000B7, 198)}


class Instruction(NamedTuple):
    """One of a BPF program; jumps count the instructions that they pass over."""

    code: int
    if_true: int
    if_false: int
    value: int


class _RawInstruction(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint16), ("jt", ctypes.c_uint8), ("jf", ctypes.c_uint8), ("k", ctypes.c_uint32))


class _Program(ctypes.Structure):
    _fields_ = (("len", ctypes.c_ushort), ("filter", ctypes.POINTER(_RawInstruction)))


def forbid_network(families: Sequence[int]) -> Optional[str]:
    """Make no more sockets from here on in this process, but for those of `families` (AF_*). Before it has threads.

    Returns:
        Why that is impossible here, or None when it is done.
    """
    machine = platform.machine()
    if machine not in _MACHINES:
        return f"no filter for {machine} is known; {_ADVICE}"
    program = filter_program(machine, families)
    raw = (_RawInstruction * len(program))(*(_RawInstruction(*instruction) for instruction in program))
    libc = ctypes.CDLL(None, use_errno=True)
    none = ctypes.c_ulong(0)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1), none, none, none) == 0:
        pointer = ctypes.byref(_Program(len(program), raw))
        if libc.prctl(_PR_SET_SECCOMP, ctypes.c_ulong(_SECCOMP_MODE_FILTER), pointer, none, none) == 0:
            return None
    return f"the kernel takes no filter ({os.strerror(ctypes.get_errno())}); {_ADVICE}"


def filter_program(machine: str, families: Sequence[int]) -> List[Instruction]:
    """The filter for one kind of machine, as `platform.machine()` calls it."""
    architecture, socket = _MACHINES[machine]
    foreign = Instruction(_RETURN, 0, 0, _REFUSE | errno.ENOSYS)
    allow = Instruction(_RETURN, 0, 0, _ALLOW)
    program = [
        Instruction(_LOAD, 0, 0, _ARCHITECTURE),
        Instruction(_IF_EQUAL, 1, 0, architecture),
        foreign,
        Instruction(_LOAD, 0, 0, _NUMBER),
        Instruction(_IF_AT_LEAST, 0, 1, _X32),
        foreign,
        Instruction(_IF_EQUAL, 0, 1, _IO_URING_SETUP),
        foreign,
        Instruction(_IF_EQUAL, 1, 0, socket),
        allow,
        Instruction(_LOAD, 0, 0, _FIRST_ARGUMENT),
    ]
    for family in families:
        program += [Instruction(_IF_EQUAL, 0, 1, family), allow]
    return [*program, Instruction(_RETURN, 0, 0, _REFUSE | errno.EAFNOSUPPORT)]
