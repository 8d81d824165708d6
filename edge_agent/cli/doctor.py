"""`edge-agent doctor`: what usually breaks on a device, a line each with its remedy."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Callable, Dict, Iterable, List, Optional

import click
from rich.console import Console
from rich.text import Text

from edge_agent.agent import InspectorSettings, read_settings
from edge_agent.cli.configuration import thing_name
from edge_agent.clock import SystemClock
from edge_agent.config import read_file
from edge_agent.contract import OWN_SOCKET, socket_path
from edge_agent.doctor.account import Account, account
from edge_agent.doctor.agents import check_agent, check_aws_agent, check_socket
from edge_agent.doctor.camera import check_attached, check_lanes
from edge_agent.doctor.clocks import check_clock
from edge_agent.doctor.disk import Place, check_disk
from edge_agent.doctor.finding import BROKEN, Check, Finding, examine
from edge_agent.doctor.gpu import Libraries, check_gpu, gpu_code, library_path, read_compiler_options
from edge_agent.doctor.nucleus import check_ipc
from edge_agent.doctor.rights import check_groups
from edge_agent.doctor.software import check_python
from edge_agent.doctor.store import check_models, deployed
from edge_agent.errors import SpoolError
from edge_agent.spool import Look, SpoolSettings, spool_directory

_STYLES = {"ok": "green", "warning": "yellow", "broken": "bold red", "skipped": "dim"}
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - the kernel's POSIX shared memory
_MIB = 1024 * 1024

_INSPECTOR = "com.edgeagent.Inspector"

# Frames of one lane at 12 megapixels, and a mask, in shared memory.
_LANE_BYTES = 128 * _MIB


@click.command()
@click.option(
    "--config", "config_file", type=click.Path(path_type=Path), help="Of the inspector: its cameras, spool, agent."
)
@click.option(
    "--models",
    type=click.Path(path_type=Path),
    envvar="EDGE_AGENT_MODELS",
    show_envvar=True,
    default="/var/lib/edge-agent/models",
    show_default=True,
    help="Directory of packaged models.",
)
@click.option(
    "--greengrass",
    type=click.Path(path_type=Path),
    envvar="EDGE_AGENT_GREENGRASS",
    show_envvar=True,
    default="/greengrass/v2",
    show_default=True,
    help="Root of the nucleus.",
)
@click.option(
    "--socket",
    envvar="EDGE_AGENT_SOCKET",
    show_envvar=True,
    help="Of the Edge Agent.  [default: as the configuration says, or our model server's]",
)
@click.option("--user", help="Of the components.  [default: for root ggc_user or gg_component, else who runs this]")
@click.option("--compiler-options", metavar="JSON", help="Of a packaging job, to compare with this GPU's libraries.")
@click.option("--timeout", default=10.0, show_default=True, help="Seconds that a camera's first frame may take.")
@click.option("--skip", multiple=True, metavar="CHECK", help="Leave a check out; may be given more than once.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def doctor(
    config_file: Optional[Path],
    models: Path,
    greengrass: Path,
    socket: Optional[str],
    user: Optional[str],
    compiler_options: Optional[str],
    timeout: float,
    skip: Iterable[str],
    as_json: bool,
) -> None:
    """Look at what usually breaks on a device, and say what helps. Changes nothing.

    Exit code 1 where something is broken; warnings do not count.
    """
    settings = (
        None if config_file is None else read_settings(read_file(config_file), str(config_file), thing=thing_name())
    )
    checks = _checks(
        settings,
        account(user),
        models=models,
        greengrass=greengrass,
        agent=socket_path(socket or (settings.edge_agent_socket if settings else OWN_SOCKET)),
        options=read_compiler_options(compiler_options) if compiler_options else {},
        spool=_spool(settings.spool if settings else SpoolSettings(), config_file, greengrass),
        timeout_s=timeout,
    )
    unknown = sorted(set(skip) - set(checks))
    if unknown:
        raise click.BadParameter(f"{unknown[0]} is none of {', '.join(checks)}", param_hint="--skip")
    found = examine({name: check for name, check in checks.items() if name not in skip})
    if as_json:
        click.echo(json.dumps(_document(found), indent=1))
    else:
        _print(found)
    if any(finding.status == BROKEN for findings in found.values() for finding in findings):
        sys.exit(1)


def _checks(
    settings: Optional[InspectorSettings],
    user: Account,
    *,
    models: Path,
    greengrass: Path,
    agent: Path,
    options: Dict[str, str],
    spool: Path,
    timeout_s: float,
) -> Dict[str, Check]:
    lanes = {name: lane.camera for name, lane in settings.lanes.items()} if settings else {}
    limit = (settings.spool if settings else SpoolSettings()).bytes
    wanted = settings is not None and settings.edge_agent == "aws"
    memory = Place("shared memory", _SHARED_MEMORY, wanted=_LANE_BYTES * max(1, len(lanes)))
    return {
        "python": check_python,
        "groups": lambda: check_groups(user),
        "socket": lambda: check_socket(agent, user),
        "agent": lambda: check_agent(agent),
        "aws-agent": lambda: check_aws_agent(greengrass, wanted=wanted),
        "gpu": lambda: check_gpu(deployed(models, greengrass), options, Libraries(library_path()), gpu_code()),
        "models": lambda: check_models(models, greengrass, user),
        "ipc": check_ipc,
        "clock": lambda: check_clock(SystemClock()),
        "disk": _each([Place("spool", spool, wanted=limit), memory], user),
        "cameras": (
            (lambda: check_lanes(lanes, SystemClock(), busy=_is_busy(spool), timeout_s=timeout_s))
            if settings
            else check_attached
        ),
    }


def _spool(settings: SpoolSettings, config_file: Optional[Path], greengrass: Path) -> Path:
    """Where the component has it, which this command is not, or where this user's inspector would."""
    work = greengrass / "work" / _INSPECTOR
    if not settings.path and os.path.isdir(work):  # noqa: PTH112 - Path.is_dir raises where one may not look
        return work / "spool"
    return spool_directory(settings, config_file)


def _each(places: List[Place], user: Account) -> Callable[[], Iterable[Finding]]:
    return lambda: (finding for place in places for finding in check_disk(place, user))


def _is_busy(spool: Path) -> bool:
    """An inspector at work holds its spool."""
    with contextlib.suppress(SpoolError), contextlib.closing(Look(spool)) as look:
        return bool(look.status()["in_use"])
    return False


def _document(found: Dict[str, List[Finding]]) -> Dict[str, object]:
    findings = [
        {"check": name, "status": finding.status, "text": finding.text, "remedy": finding.remedy}
        for name, findings in found.items()
        for finding in findings
    ]
    return {"broken": sum(entry["status"] == BROKEN for entry in findings), "findings": findings}


def _print(found: Dict[str, List[Finding]]) -> None:
    console = Console(soft_wrap=True, highlight=False)
    for name, findings in found.items():
        for finding in findings:
            line = Text(f"{finding.status:<8} ", style=_STYLES[finding.status])
            line.append(f"{name:<10} {finding.text}", style="default")
            if finding.remedy:
                line.append(f". {finding.remedy}", style="default")
            console.print(line)
