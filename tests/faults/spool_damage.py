"""Spools with flipped bits, truncated files and zeroed pages: every one starts, every readable record is delivered.

What is readable is worked out from the bytes alone: an inspection is, when the very bytes that the spool wrote for it
lie somewhere in the damaged files. Damage hits the database and, where the spool was killed, SQLite's log, too. Where
it hits the database and the newest books survive, the number of lost inspections must be exact. (The last transaction
of a log that was cut short cannot be told from one that was never finished.)
"""

from __future__ import annotations

import itertools
import json
import random
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any, Dict, List, Set, Union

from edge_agent.clock import SystemClock
from edge_agent.spool import Entry, Spool, SpoolSettings
from edge_agent.spool.record import Book, Marks, Record, scan
from edge_agent.spool.recovery import files_of, newest_generation
from faults.outcome import Outcome

_LANES = ("line-1", "line-2", "line-3")
_PAGE = 8_192
_ENDS = ("closed", "closed", "closed", "killed", "killed", "killed later", "killed later", "killed later")


def run(count: int, seed: int) -> Outcome:
    """Damage `count` spools, each once."""
    outcome = Outcome(count)
    choices = random.Random(seed)
    kinds: Counter[str] = Counter()
    totals: Counter[str] = Counter()
    problems: List[str] = []
    with tempfile.TemporaryDirectory(prefix="edge-agent-") as scratch:
        templates = [_Template(Path(scratch) / str(index), end, choices) for index, end in enumerate(_ENDS)]
        for number in range(count):
            template = choices.choice(templates)
            spool = Path(scratch) / "spool"
            shutil.copytree(template.directory, spool)
            generation = newest_generation(spool)
            assert generation is not None
            files = [path for path in files_of(generation) if path.exists()]
            kind = _damage(choices.choice(files), choices)
            readable = _survivors(files, template.frames)
            books_survive = kind.endswith("database") and _survivors(files, template.states) == set(template.states)
            found = _deliver(spool)
            problem = _judge(template, readable, found, books_survive=books_survive)
            if problem:
                problems.append(f"spool {number} ({kind}): {problem}")
            kinds[kind] += 1
            totals.update(
                records=len(template.waiting),
                readable=len(readable),
                recovered=len(set(found.sequences)),
                damaged=found.damaged,
                books_survived=books_survive,
                set_aside=found.set_aside,
            )
            shutil.rmtree(spool)
    outcome.figures = {"kinds": dict(kinds), **totals, "problems": problems[:10]}
    outcome.bars = {
        "every spool started, and every readable record came out whole, once, in order, with true books": not problems,
        "some damage cost records, and was counted": totals["damaged"] > 0,
        "most records came through": totals["recovered"] > totals["records"] // 2,
    }
    return outcome


class _Template:
    """A spool in the middle of its life: inspections of three lanes, some delivered already.

    Args:
        directory: to be made.
        end: `closed`; `killed` in its first run, all of it in SQLite's log; `killed later`, some of it there.
    """

    def __init__(self, directory: Path, end: str, choices: random.Random) -> None:
        working = directory.with_suffix(".working")
        bodies: List[bytes] = []
        self._numbers = itertools.count(1)
        for life in ("first", "second") if end == "killed later" else ("only",):
            spool = Spool(working, SpoolSettings(), SystemClock())
            spool.start()
            self._work(spool, bodies, choices)
            if life == "first":
                spool.close(30)
        if end == "closed":
            spool.close(30)
            shutil.copytree(working, directory)
        else:
            shutil.copytree(working, directory)
            spool.close(30)
        shutil.rmtree(working)
        self.waiting = {json.loads(body)["number"]: body for body in bodies}
        self.directory = directory
        self.waiting = {json.loads(body)["number"]: body for body in bodies}
        self.delivered = min(self.waiting, default=1) - 1
        # As they lie in the sound files: each waiting inspection, and the newest state of each book.
        self.frames: Dict[int, bytes] = {}
        self.states: Dict[str, bytes] = {}
        newest: Dict[str, int] = {}
        generation = newest_generation(directory)
        assert generation is not None
        for data in (path.read_bytes() for path in files_of(generation) if path.exists()):
            for offset, frame in scan(data):
                if isinstance(frame, Record):
                    number = json.loads(frame.body)["number"]
                    if number in self.waiting:
                        self.frames[number] = data[offset : offset + len(frame.encode())]
                else:
                    self._note_state(frame, data[offset : offset + len(frame.encode())], newest)
        assert set(self.frames) == set(self.waiting)

    def _work(self, spool: Spool, bodies: List[bytes], choices: random.Random) -> None:
        """Some groups of inspections, some of which are delivered; what waits is left in `bodies`."""
        for _ in range(choices.randint(1, 10)):
            bodies += [_put(spool, next(self._numbers), choices) for _ in range(choices.randint(1, 60))]
            spool.flush(30)
            for _ in range(choices.randint(0, 2)):
                receipt = spool.take(7_000, choices.randint(1, 20), 0.0)
                if receipt is not None:
                    receipt.delivered()
                    del bodies[: len(receipt.bodies)]
        bodies += [_put(spool, next(self._numbers), choices) for _ in range(choices.randint(1, 40))]
        spool.flush(30)

    def _note_state(self, frame: Union[Book, Marks], data: bytes, newest: Dict[str, int]) -> None:
        key = frame.lane if isinstance(frame, Book) else ""
        if frame.version >= newest.get(key, 0):
            newest[key], self.states[key] = frame.version, data


def _put(spool: Spool, number: int, choices: random.Random) -> bytes:
    lane = choices.choice(_LANES)
    accounting = spool.accounting(lane)
    accounting.capture()
    accounting.inspect()
    sequence = spool.next_sequence(lane)
    size = choices.choice((20, 300, 600, 600, 600, 6_000))
    body = json.dumps({"lane": lane, "sequence": sequence, "number": number, "filling": "x" * size}).encode()
    spool.put(Entry(lane, sequence, choices.random() < 0.2, body))
    return body


def _damage(path: Path, choices: random.Random) -> str:
    data = bytearray(path.read_bytes())
    kind = choices.choice(("flipped bits", "truncated", "zeroed pages", "zeroed sector", "overwritten"))
    if kind == "truncated":
        del data[choices.randrange(len(data)) :]
    elif kind == "flipped bits":
        for _ in range(choices.choice((1, 1, 1, 2, 10, 100))):
            data[choices.randrange(len(data))] ^= 1 << choices.randrange(8)
    else:
        size = {"zeroed pages": _PAGE * choices.randint(1, 3), "zeroed sector": 512, "overwritten": 300}[kind]
        start = choices.randrange(len(data)) // size * size
        length = len(data[start : start + size])
        data[start : start + size] = (
            bytes(length) if kind != "overwritten" else choices.getrandbits(8 * length).to_bytes(length, "big")
        )
    path.write_bytes(data)
    return f"{kind}, {'log' if path.name.endswith('wal') else 'database'}"


def _survivors(files: List[Path], written: Dict[Any, bytes]) -> Set[Any]:
    """Keys of those frames whose bytes still lie somewhere."""
    contents = [path.read_bytes() for path in files]
    return {key for key, frame in written.items() if any(frame in data for data in contents)}


class _Found:
    def __init__(self) -> None:
        self.bodies: List[bytes] = []
        self.sequences: List[Any] = []
        self.damaged = 0
        self.set_aside = 0
        self.balanced = True
        self.next_sequences: Dict[str, int] = {}


def _deliver(directory: Path) -> _Found:
    """Start the spool as the inspector does, and take everything out."""
    found = _Found()
    spool = Spool(directory, SpoolSettings(), SystemClock())
    spool.start()
    while True:
        receipt = spool.take(7_000, 100, 0.0)
        if receipt is None:
            break
        found.bodies += receipt.bodies
        receipt.delivered()
    snapshots = [accounting.snapshot() for accounting in spool.accountings().values()]
    found.sequences = [(json.loads(body)["lane"], json.loads(body)["sequence"]) for body in found.bodies]
    found.damaged = sum(snapshot.expired.get("damaged", 0) for snapshot in snapshots)
    found.balanced = all(snapshot.balanced() and snapshot.spooled == 0 for snapshot in snapshots)
    found.next_sequences = {lane: spool.next_sequence(lane) for lane in _LANES}
    if spool.trouble() is not None:
        raise RuntimeError(f"the spool is in trouble: {spool.trouble()}")
    spool.close(30)
    found.set_aside = len(list(directory.glob("damaged-*")))
    return found


def _judge(template: _Template, readable: Set[int], found: _Found, *, books_survive: bool) -> str:
    numbers = [json.loads(body)["number"] for body in found.bodies]
    strange = [number for number in numbers if number > template.delivered and number not in template.waiting]
    altered = [body for number, body in zip(numbers, found.bodies) if template.waiting.get(number, body) != body]
    again = sum(number <= template.delivered for number in numbers)
    lost = len(template.waiting) - len(set(numbers) & set(template.waiting))
    highest: Dict[str, int] = {}
    for body in template.waiting.values():
        document = json.loads(body)
        highest[document["lane"]] = document["sequence"]
    reused = [lane for lane, sequence in found.sequences if found.next_sequences[lane] <= sequence]
    checks = {
        f"{len(readable - set(numbers))} readable records did not come": readable - set(numbers),
        f"records that never were: {strange}": strange,
        "records that were altered": altered,
        "records that came twice": len(numbers) != len(set(numbers)),
        "records out of order": numbers != sorted(numbers),
        f"numbers given again on {reused}": reused,
        f"{found.damaged} counted as damaged, {lost} lost": found.damaged > lost
        or (books_survive and found.damaged != lost),
        f"{again} delivered again": books_survive and again,
        "unbalanced books": not found.balanced,
    }
    return "; ".join(words for words, wrong in checks.items() if wrong)
