"""What a check found, and the running of checks: each ends in findings, whatever happens in it."""

from __future__ import annotations

from typing import Callable, Dict, Iterable, List, Mapping, NamedTuple

from edge_agent.errors import EdgeAgentError

#: `broken`: it will not work so. `warning`: it works, and may not for long or not as meant. `skipped`: not looked at.
OK, WARNING, BROKEN, SKIPPED = "ok", "warning", "broken", "skipped"


class Finding(NamedTuple):
    """One line. `remedy` is what the reader can do; empty where nothing is to be done."""

    status: str
    text: str
    remedy: str = ""


Check = Callable[[], Iterable[Finding]]


def examine(checks: Mapping[str, Check]) -> Dict[str, List[Finding]]:
    """Run every check. One that raises is itself a finding, and the others are run all the same."""
    found: Dict[str, List[Finding]] = {}
    for name, check in checks.items():
        try:
            found[name] = list(check())
        except EdgeAgentError as error:
            found[name] = [broken(error)]
        except OSError as error:
            place = f"{error.filename}: " if error.filename else ""
            text = f"{place}cannot be looked at ({error.strerror or error})"
            found[name] = [Finding(BROKEN, text, "Run this as root (sudo) or as the components' user.")]
        except Exception as error:  # noqa: BLE001 - a device in disorder must not keep the other checks from running
            found[name] = [Finding(BROKEN, f"could not be looked at: {error!r}", "Report this.")]
    return found


def broken(error: EdgeAgentError, remedy: str = "") -> Finding:
    """Args:
    error: that says it.
    remedy: where the error has none.
    """
    return Finding(BROKEN, f"{error.subject}: {error.reason}", error.remedy or remedy)
