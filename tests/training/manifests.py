"""Small labelled sets written for a test: flat grey pictures with a coloured block for a defect."""

from __future__ import annotations

import contextlib
import io
import json
import pathlib
from typing import Any, Dict, List, NamedTuple

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 96, 64


class Done(NamedTuple):
    out: str
    err: str


def run_verb(command: Any, *arguments: Any) -> Done:
    """A verb in this process, its two outputs apart; what it raises comes through."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        command.main([str(argument) for argument in arguments], standalone_mode=False)
    return Done(out.getvalue(), err.getvalue())


def image_line(name: str, label: int) -> Dict[str, Any]:
    return {
        "source-ref": name,
        "anomaly-label": label,
        "anomaly-label-metadata": {
            "class-name": "anomaly" if label else "normal",
            "type": "groundtruth/image-classification",
        },
    }


def mask_entries(name: str, classes: Dict[str, str]) -> Dict[str, Any]:
    table = {
        str(number): {"class-name": key, "hex-color": color} for number, (key, color) in enumerate(classes.items())
    }
    return {
        "anomaly-mask-ref": name,
        "anomaly-mask-ref-metadata": {"internal-color-map": table, "type": "groundtruth/semantic-segmentation"},
    }


def save_image(path: pathlib.Path, level: int = 90) -> None:
    Image.fromarray(np.full((HEIGHT, WIDTH, 3), level, dtype=np.uint8)).save(path)


def write_lines(folder: pathlib.Path, lines: List[Any]) -> pathlib.Path:
    manifest = folder / "train.manifest"
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    manifest.write_text("\n".join(texts) + "\n", encoding="utf-8")
    return manifest
