"""Forms of the members of a request: what each may be, and a skeleton to fill in."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Callable, Iterator, Mapping, NamedTuple, Optional, Protocol, Tuple

from edge_agent.errors import ValidationError

_MAX_SHOWN = 60
_MAX_FAULTS = 10


class Fault(NamedTuple):
    """A member by its path, and what is wrong with it in one clause."""

    path: str
    reason: str


class Form(Protocol):
    def faults(self, value: Any, path: str) -> Iterator[Fault]:
        """What is wrong with a value as it came in JSON."""

    def skeleton(self) -> Any:
        """A value of this form to fill in, as the AWS CLI's --generate-cli-skeleton shows it."""


@dataclass(frozen=True)
class Text:
    """A text of so many characters, all of which match.

    Attributes:
        shortest, longest: in characters.
        pattern: the whole text matches it; as the service model has it.
        allowed: asked for each character where a pattern cannot say it.
    """

    shortest: int
    longest: int
    pattern: str = ".*"
    allowed: Optional[Callable[[str], bool]] = None

    def faults(self, value: Any, path: str) -> Iterator[Fault]:
        if not isinstance(value, str):
            yield Fault(path, f"is {_kind(value)}, not a text")
        elif not self.shortest <= len(value) <= self.longest:
            yield Fault(path, f"has {len(value)} characters, not {self.shortest} to {self.longest}")
        elif not re.fullmatch(self.pattern, value):
            yield Fault(path, f"is {shown(value)}, which does not match {self.pattern}")
        elif self.allowed is not None and not all(map(self.allowed, value)):
            yield Fault(path, f"is {shown(value)}, which has characters that are not allowed")

    def skeleton(self) -> str:
        return ""


@dataclass(frozen=True)
class OneOf:
    """One of a few words."""

    words: Tuple[str, ...]

    def faults(self, value: Any, path: str) -> Iterator[Fault]:
        if not isinstance(value, str) or value not in self.words:
            yield Fault(path, f"is {shown(value)}, not one of [{', '.join(self.words)}]")

    def skeleton(self) -> str:
        return self.words[0]


@dataclass(frozen=True)
class WholeNumber:
    lowest: int
    highest: int

    def faults(self, value: Any, path: str) -> Iterator[Fault]:
        if not isinstance(value, int) or isinstance(value, bool) or not self.lowest <= value <= self.highest:
            yield Fault(path, f"is {shown(value)}, not a whole number of {self.lowest} to {self.highest}")

    def skeleton(self) -> int:
        return 0


@dataclass(frozen=True)
class Members:
    """A structure. A member that is null counts as absent, as in the service's own protocol."""

    required: Mapping[str, Form]
    optional: Mapping[str, Form]

    def faults(self, value: Any, path: str) -> Iterator[Fault]:
        if not isinstance(value, dict):
            yield Fault(path, f"is {_kind(value)}, not a structure")
            return
        for name, form in (*self.required.items(), *self.optional.items()):
            place = f"{path}.{name}" if path else name
            if value.get(name) is not None:
                yield from form.faults(value[name], place)
            elif name in self.required:
                yield Fault(place, "is missing")
        for name in value:
            if name not in self.required and name not in self.optional:
                place = f"{path}.{shown(name)}" if path else shown(name)
                yield Fault(place, f"is no member; known are {', '.join((*self.required, *self.optional))}")

    def skeleton(self) -> Any:
        return {name: form.skeleton() for name, form in (*self.required.items(), *self.optional.items())}


@dataclass(frozen=True)
class Many:
    """A list."""

    member: Form
    most: int

    def faults(self, value: Any, path: str) -> Iterator[Fault]:
        if not isinstance(value, list):
            yield Fault(path, f"is {_kind(value)}, not a list")
            return
        if len(value) > self.most:
            yield Fault(path, f"has {len(value)} members, not at most {self.most}")
            return
        for place, entry in enumerate(value):
            yield from self.member.faults(entry, f"{path}[{place}]")

    def skeleton(self) -> Any:
        return [self.member.skeleton()]


def refuse(faults: Iterator[Fault]) -> None:
    """Raises ValidationError that says all the faults, or nothing where there are none."""
    found = [fault for fault, _ in zip(faults, range(_MAX_FAULTS))]
    if found:
        others = "; ".join(f"{fault.path} {fault.reason}" for fault in found[1:])
        raise ValidationError(found[0].path, found[0].reason, f"Also: {others}" if others else "")


def without_nulls(value: Any) -> Any:
    """A request whose null members are left out."""
    if isinstance(value, dict):
        return {key: without_nulls(entry) for key, entry in value.items() if entry is not None}
    return [without_nulls(entry) for entry in value] if isinstance(value, list) else value


def shown(value: Any) -> str:
    """For a message: short, and on one line."""
    text = ascii(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."


def _kind(value: Any) -> str:
    names = {dict: "a structure", list: "a list", str: "a text", bool: "a truth value", type(None): "null"}
    return names.get(type(value), "a number")
