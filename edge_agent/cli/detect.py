"""`edge-agent detect`: verdicts for single images through a running Edge Agent."""

from __future__ import annotations

import json
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import click
from PIL import Image
from rich.console import Console
from rich.table import Table

from edge_agent.cameras.decode import decode_image
from edge_agent.cli.agent_option import SOCKET_OPTION
from edge_agent.clock import SystemClock
from edge_agent.detector import Detection, EdgeAgentClient, ModelSession
from edge_agent.errors import DetectorError, EdgeAgentError, ImageError
from edge_agent.inspection import findings
from edge_agent.overlay import draw_overlay
from edge_agent.shared_memory import Ring

_DEADLINE_S = 30.0


@dataclass(frozen=True)
class _Row:
    """One image's outcome: a detection or an error."""

    image: str
    detection: Optional[Detection] = None
    milliseconds: float = 0.0
    overlay: Optional[str] = None
    error: str = ""

    def as_dict(self) -> Dict[str, Any]:
        if self.detection is None:
            return {"image": self.image, "error": self.error}
        found = self.detection
        row: Dict[str, Any] = {
            "image": self.image,
            "is_anomalous": found.is_anomalous,
            "confidence": round(found.confidence, 6),
            "anomalies": [anomaly.as_dict() for anomaly in found.anomalies],
            "model_version": found.model_version,
            "detect_ms": round(self.milliseconds, 3),
        }
        if self.overlay is not None:
            row["overlay"] = self.overlay
        return row


@click.command()
@click.option("--model", required=True, help="Name of the model component.")
@SOCKET_OPTION
@click.option("--overlay", type=click.Path(path_type=Path, file_okay=False), help="Write pictures with the mask here.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of a table.")
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
def detect(model: str, socket: str, overlay: Optional[Path], as_json: bool, images: Tuple[Path, ...]) -> None:
    """Say of each IMAGE whether it is anomalous, through a running Edge Agent.

    Starts the model where it does not run. Exit code 1 when an image had no verdict.
    """
    if overlay is not None:
        overlay.mkdir(parents=True, exist_ok=True)
    client = EdgeAgentClient(socket, deadline_s=_DEADLINE_S)
    session = ModelSession(client, model, SystemClock())
    ring = Ring(1)
    try:
        session.ensure_running(threading.Event())
        rows = [_inspect(session, ring, path, overlay) for path in images]
    finally:
        session.close()
        ring.close()
        client.close()
    if as_json:
        click.echo(json.dumps({"model": model, "results": [row.as_dict() for row in rows]}, indent=1))
    else:
        Console().print(_table(rows))
    if any(row.error for row in rows):
        sys.exit(1)


def _inspect(session: ModelSession, ring: Ring, path: Path, overlay: Optional[Path]) -> _Row:
    slot = ring.acquire()
    assert slot is not None  # noqa: S101 - one thread, one slot, given back below
    try:
        pixels = decode_image(path, slot.reserve)
        started = time.monotonic()
        found = session.detect(pixels, slot.placement(pixels.nbytes))
        milliseconds = (time.monotonic() - started) * 1000
        mask = session.mask_pixels(found)
        drawn = None
        if overlay is not None:
            # The whole file name: a.png and a.jpg of one folder stay two pictures.
            drawn = overlay / f"{path.name}.overlay.png"
            picture = pixels if mask is None else draw_overlay(pixels, mask, found.anomalies)
            Image.fromarray(picture).save(drawn)
        return _Row(str(path), found, milliseconds, None if drawn is None else str(drawn))
    except (ImageError, DetectorError) as error:
        return _Row(str(path), error=str(error))
    except OSError as error:
        raise EdgeAgentError(
            str(overlay), f"cannot be written to ({error.strerror})", "Name another folder."
        ) from error
    finally:
        slot.release()


def _table(rows: List[_Row]) -> Table:
    table = Table(box=None, pad_edge=False)
    for title, side in (("image", "left"), ("verdict", "left"), ("confidence", "right"), ("anomalies", "left")):
        table.add_column(title, justify="right" if side == "right" else "left", overflow="fold")
    for row in rows:
        if row.detection is None:
            table.add_row(row.image, "[red]no verdict[/red]", "", row.error)
            continue
        found = row.detection
        verdict = "[bold red]anomalous[/bold red]" if found.is_anomalous else "[green]normal[/green]"
        classes = ", ".join(f"{a.name} {a.area:.2%}" for a in findings(found.anomalies))
        table.add_row(row.image, verdict, f"{found.confidence:.3f}", classes or "-")
    return table
