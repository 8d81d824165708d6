"""The buffer: what each policy keeps, and that every frame is counted once and its slot given back once."""

from __future__ import annotations

import threading
from typing import List

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.frame import Frame, Placement
from edge_agent.lane.buffer import FrameBuffer, Policy
from edge_agent.metrics import Accounting


def _frame(sequence: int, released: List[int], accounting: Accounting) -> Frame:
    accounting.capture()
    return Frame(
        camera="c",
        sequence=sequence,
        pixels=np.zeros((1, 1, 3), np.uint8),
        placement=Placement("s", 0, 3),
        captured_at_ns=0,
        captured_ns=0,
        decoded_ns=0,
        source="",
        release=lambda: released.append(sequence),
    )


@pytest.mark.parametrize(
    ("policy", "kept", "cause"),
    [("latest", [3, 4, 5], "replaced"), ("oldest", [1, 2, 3], "buffer_full")],
)
def test_a_full_buffer_drops_by_policy(policy: Policy, kept: List[int], cause: str) -> None:
    accounting, released = Accounting(), []  # type: ignore[var-annotated] # of integers
    buffer = FrameBuffer(3, policy, accounting)
    for sequence in range(1, 6):
        assert buffer.put(_frame(sequence, released, accounting), 0)
    got = [buffer.get(0) for _ in range(3)]
    assert [frame.sequence for frame in got if frame is not None] == kept
    books = accounting.snapshot()
    assert books.dropped == {cause: 2}
    assert sorted(released) == sorted(set(range(1, 6)) - set(kept))
    assert books.balanced()


def test_wait_leaves_the_frame_with_its_giver() -> None:
    accounting, released = Accounting(), []  # type: ignore[var-annotated] # of integers
    buffer = FrameBuffer(1, "wait", accounting)
    assert buffer.put(_frame(1, released, accounting), 0)
    second = _frame(2, released, accounting)
    assert not buffer.put(second, 0.01)
    taker = threading.Thread(target=lambda: buffer.get(5.0))
    taker.start()
    assert buffer.put(second, 5.0)
    taker.join()
    assert accounting.snapshot().dropped == {}
    buffer.end()
    assert not buffer.ended()
    buffer.drop_all("stopped")
    assert buffer.ended()
    assert buffer.get(1.0) is None
    assert accounting.snapshot().dropped == {"stopped": 1}


@settings(max_examples=100, deadline=None)
@given(
    policy=st.sampled_from(["wait", "latest", "oldest"]),
    size=st.integers(1, 4),
    puts=st.lists(st.booleans(), max_size=40),
)
def test_books_balance_in_any_order(policy: Policy, size: int, puts: List[bool]) -> None:
    accounting = Accounting()
    released: List[int] = []
    buffer = FrameBuffer(size, policy, accounting)
    taken: List[int] = []
    refused = 0
    for number, put in enumerate(puts):
        if put:
            if not buffer.put(_frame(number, released, accounting), 0):
                refused += 1
        else:
            frame = buffer.get(0)
            if frame is not None:
                taken.append(frame.sequence)
    books = accounting.snapshot()
    assert books.balanced()
    assert buffer.waiting() <= size
    assert taken == sorted(taken)
    assert books.captured == len(taken) + buffer.waiting() + sum(books.dropped.values()) + refused
    assert len(released) == sum(books.dropped.values())
    assert (policy == "wait") or not refused
