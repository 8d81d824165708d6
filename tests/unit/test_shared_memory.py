from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from multiprocessing import shared_memory as stdlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.errors import SharedMemoryError
from edge_agent.shared_memory import Ring, attach_segment, check_range, create_segment, sweep

SHM = Path("/dev/shm")


def test_what_the_creator_writes_another_mapping_reads() -> None:
    segment = create_segment(64 * 64 * 3)
    segment.pixels(0, 64, 64)[...] = 7
    other = attach_segment(segment.name)
    assert (other.pixels(0, 64, 64) == 7).all()
    assert not other.pixels(0, 64, 64).flags.writeable
    other.close()
    assert (SHM / segment.name.lstrip("/")).exists(), "only the creator unlinks"
    segment.close()
    assert not (SHM / segment.name.lstrip("/")).exists()


def test_both_forms_of_a_name_are_one_segment() -> None:
    theirs = stdlib.SharedMemory(create=True, size=300)
    try:
        for name in (theirs.name, "/" + theirs.name):
            segment = attach_segment(name, writable=True)
            segment.pixels(0, 10, 10)[...] = 9
            segment.close()
        assert bytes(theirs.buf[:300]) == b"\x09" * 300
    finally:
        theirs.close()
        theirs.unlink()


@pytest.mark.parametrize("name", ["", "/", ".", "..", "/..", "a/b", "/../etc/passwd", "//x", "x" * 300, "a\0b"])
def test_a_name_that_is_no_segment_name_is_refused(name: str) -> None:
    with pytest.raises(SharedMemoryError):
        attach_segment(name)


def test_a_link_in_shared_memory_is_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"x" * 100)
    link = SHM / f"test-link-{os.getpid()}"
    link.symlink_to(secret)
    try:
        with pytest.raises(SharedMemoryError, match="cannot be opened"):
            attach_segment(link.name)
    finally:
        link.unlink()


def test_a_pipe_in_shared_memory_neither_blocks_nor_maps() -> None:
    pipe = SHM / f"test-pipe-{os.getpid()}"
    os.mkfifo(pipe)
    try:
        with pytest.raises(SharedMemoryError, match="not a shared-memory segment"):
            attach_segment(pipe.name)
    finally:
        pipe.unlink()


@given(
    offset=st.integers(0, 2**64),
    size=st.integers(0, 2**64),
    available=st.integers(0, 2**32),
)
def test_a_range_is_accepted_only_inside_the_segment(offset: int, size: int, available: int) -> None:
    inside = offset + size <= available
    if inside:
        check_range("/x", offset, size, available)
    else:
        with pytest.raises(SharedMemoryError, match="holds"):
            check_range("/x", offset, size, available)


def test_a_segment_larger_than_shared_memory_is_an_error_not_a_crash() -> None:
    free = os.statvfs(SHM)
    before = set(SHM.iterdir())
    with pytest.raises(SharedMemoryError, match="gets no"):
        create_segment(free.f_frsize * free.f_blocks + 2**40)
    assert set(SHM.iterdir()) - before == set()


def test_ring_gives_out_each_slot_once_and_takes_it_back_once() -> None:
    ring = Ring(2)
    first, second = ring.acquire(), ring.acquire()
    assert first is not None
    assert second is not None
    assert ring.acquire(timeout=0.01) is None
    first.release()
    with pytest.raises(SharedMemoryError, match="twice"):
        first.release()
    again = ring.acquire(timeout=0.01)
    assert again is not None
    for slot in (again, second):
        slot.release()
    ring.close()
    assert ring.acquire(timeout=0.01) is None


def test_a_slot_follows_the_size_of_its_frames() -> None:
    ring = Ring(1)
    slot = ring.acquire()
    assert slot is not None
    slot.reserve(64, 64)[...] = 1
    small = slot.placement(64 * 64 * 3)
    slot.reserve(100, 200)[...] = 2
    large = slot.placement(100 * 200 * 3)
    assert not (SHM / small.name.lstrip("/")).exists()
    reader = attach_segment(large.name)
    assert np.array_equal(reader.pixels(0, 100, 200), np.full((100, 200, 3), 2, np.uint8))
    reader.close()
    slot.release()
    ring.close()
    assert not (SHM / large.name.lstrip("/")).exists()


def test_sweep_unlinks_what_a_killed_process_left_and_nothing_else() -> None:
    script = (
        "import time; from edge_agent.shared_memory import create_segment\n"
        "print(create_segment(1000).name, flush=True); time.sleep(60)"
    )
    victim = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert victim.stdout is not None
    left = victim.stdout.readline().strip().lstrip("/")
    mine = create_segment(1000)
    old = time.time() - 60
    for name in (left, mine.name.lstrip("/")):
        os.utime(SHM / name, (old, old))
    assert left not in sweep(), "its creator lives"
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    victim.stdout.close()
    assert left in sweep()
    assert (SHM / mine.name.lstrip("/")).exists()
    mine.close()


def _sparse(size: int) -> Path:
    """A segment as a client makes it, of which no page was written."""
    path = SHM / f"test-sparse-{os.getpid()}"
    with path.open("wb") as stream:
        stream.truncate(size)
    return path


def test_a_place_in_a_segment_beyond_all_memory_takes_its_own_bytes_alone() -> None:
    path = _sparse(2**44)
    segment = attach_segment(path.name, writable=True)
    try:
        offset, size = 2**40 + 100, 64 * 64 * 3
        assert segment.has_holes(offset, size)
        assert not segment.copy(offset, 64, 64).any()
        assert path.stat().st_blocks == 0, "a look takes no memory"
        segment.reserve(offset, size)
        assert not segment.has_holes(offset, size)
        assert size <= path.stat().st_blocks * 512 <= size + 2 * 4096
        segment.pixels(offset, 64, 64)[...] = 5
        assert (segment.copy(offset, 64, 64) == 5).all()
        with pytest.raises(SharedMemoryError, match="gets no"):
            segment.reserve(0, 2**43)
    finally:
        segment.close()
        path.unlink()


def test_what_was_cut_off_between_two_looks_is_looked_at_again() -> None:
    path = _sparse(1 << 20)
    segment = attach_segment(path.name, writable=True)
    try:
        segment.reserve(0, 1 << 20)
        assert segment.is_current()
        assert not segment.has_holes(0, 1 << 20)
        os.truncate(path, 0)
        os.truncate(path, 1 << 20)
        assert segment.is_current(), "the same memory of the same size"
        assert segment.has_holes(0, 1 << 20)
        segment.reserve(0, 1 << 20)
        assert path.stat().st_blocks * 512 == 1 << 20
    finally:
        segment.close()
        path.unlink()


def test_a_range_beyond_the_end_is_refused_before_anything_is_mapped(monkeypatch: pytest.MonkeyPatch) -> None:
    path = _sparse(4096)
    monkeypatch.setattr("mmap.mmap", lambda *_args, **_options: pytest.fail("mapped"))
    try:
        with pytest.raises(SharedMemoryError, match="holds 4096 bytes, not 4096 at offset 1"):
            attach_segment(path.name, offset=1, size=4096)
        with pytest.raises(SharedMemoryError, match=f"not {2**64 - 1} at offset {2**64 - 1}"):
            attach_segment(path.name, offset=2**64 - 1, size=2**64 - 1)
    finally:
        path.unlink()
