"""The registers of the handshake, as docs/plc.md has them."""

from __future__ import annotations

import random
import re
from pathlib import Path

from edge_agent.modbus.handshake_map import COMMAND_REGISTERS, STATUS_REGISTERS, Commands, Result, Status

PAGE = (Path(__file__).parents[2] / "docs" / "plc.md").read_text()


def test_the_words_are_those_of_the_page() -> None:
    commands = Commands(
        trigger=True, results_acknowledged=False, clear_overrun=True, heartbeat=70_000, part=0x0012_0034
    )
    assert commands.encode() == [0b101, 70_000 - 65_536, 0x12, 0x34]
    assert Commands(results_acknowledged=True).encode()[0] == 0b010
    result = Result(
        verdict=2, confidence=987, area=125, sequence=0x0003_0004, class_number=2, rule=True, cause=0, part=0x0005_0006
    )
    status = Status(
        online=True, trigger_ready=True, safe=True, heartbeat=9, session=77, waiting=3, lost=65_537, result=result
    )
    assert status.encode() == [0b1010_0011, 9, 77, 3, 1, 2, 987, 125, 3, 4, 2, 1, 0, 5, 6]
    names = ("trigger_acknowledged", "missed_acquisition", "inspecting", "buffer_overrun")
    assert [Status(**{name: True}).encode()[0] for name in names] == [4, 8, 16, 64]
    assert Status().encode() == [0] * 15


def test_every_register_and_bit_is_on_the_page() -> None:
    blocks = re.split(r"^### ", PAGE, flags=re.MULTILINE)
    found = {}
    for title, count in (("What the PLC writes", COMMAND_REGISTERS), ("What the inspector writes", STATUS_REGISTERS)):
        (block,) = [block for block in blocks if block.startswith(title)]
        numbers = [
            int(number)
            for row in re.findall(r"^\| ((?:\+\d+(?:, )?)+) ", block, re.MULTILINE)
            for number in re.findall(r"\d+", row)
        ]
        assert sorted(set(numbers)) == list(range(count)), title
        found[title] = [int(bit) for bit in re.findall(r"^\| \+0 bit (\d+) ", block, re.MULTILINE)]
    assert found == {"What the PLC writes": [0, 1, 2], "What the inspector writes": list(range(8))}


def test_what_is_written_is_read() -> None:
    choices = random.Random(5)

    def word() -> int:
        return choices.randrange(65_536)

    def flag() -> bool:
        return choices.random() < 0.5

    for _ in range(500):
        commands = Commands(flag(), flag(), flag(), word(), choices.randrange(2**32))
        assert Commands.decode(commands.encode()) == commands
        result = Result(
            word(), word(), word(), choices.randrange(2**32), word(), flag(), word(), choices.randrange(2**32)
        )
        status = Status(*(flag() for _ in range(7)), word(), word(), word(), word(), choices.choice([None, result]))
        assert Status.decode(status.encode()) == status
        assert all(0 <= one <= 65_535 for one in status.encode())
