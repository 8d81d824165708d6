"""The packaged model on disk: its manifest, and a way to write it that never leaves half a package."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import pathlib
import shutil
import tempfile
from typing import Any, Dict, Iterator, Sequence, Tuple

from edge_agent import __version__
from edge_agent.errors import TrainingError

ARTIFACT = "model.onnx"
STAGE = "mochi"

_INTER_AREA = 3  # OpenCV's code


def stage_of(size: Tuple[int, int], image: Tuple[int, int], *, masks: bool, threshold: float) -> Dict[str, Any]:
    """The stage of the manifest (contract section 5.2); sizes are (width, height)."""
    stage: Dict[str, Any] = {
        "type": STAGE,
        "input_shape": [1, 3, size[1], size[0]],
        "image_width": size[0],
        "image_height": size[1],
        "raw_image_shape": [image[1], image[0]],
        "image_range_scale": True,
        "normalize": True,
        "interpolation": _INTER_AREA,
        "threshold": threshold,
        "classification_head_enabled": True,
        "segmentation_head_enabled": masks,
        "class_normal_ids": [1],
        "seg_normal_ids": [0] if masks else [],
        "calibrated": False,
    }
    return stage


def manifest_of(
    stage: Dict[str, Any], classes: Sequence[str], package: Dict[str, Any], training: Dict[str, Any]
) -> Dict[str, Any]:
    """The whole manifest; `performance` is added when it is known."""
    width, height = stage["image_width"], stage["image_height"]
    raw_height, raw_width = stage["raw_image_shape"]
    return {
        "model_graph": {
            "model_graph_type": "single_stage_model_graph",
            "stages": [stage],
            "image_level_classes": {"names": ["anomaly", "normal"], "normal_ids": [1]},
            "pixel_level_classes": {"names": list(classes), "normal_ids": [0] if classes else []},
        },
        "compilable_models": [
            {"filename": ARTIFACT, "data_input_config": {"input": [1, 3, height, width]}, "framework": "ONNX"}
        ],
        "dataset": {"image_width": raw_width, "image_height": raw_height},
        "runtime": "onnx",
        "runtime_artifact": ARTIFACT,
        "package": package,
        "training": training,
    }


def identity(name: str, version: str) -> Dict[str, Any]:
    """What the package says of itself."""
    now = dt.datetime.now(dt.timezone.utc)
    return {
        "name": name,
        "version": version,
        "created": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "tool": f"edge-agent {__version__}",
    }


def refuse_existing(package: pathlib.Path, *, force: bool) -> None:
    """Raises TrainingError where a package of that name is in the way."""
    if package.exists() and not force:
        raise TrainingError(str(package), "exists already", "Choose another name, or replace it with --force.")


@contextlib.contextmanager
def draft(package: pathlib.Path, *, force: bool) -> Iterator[pathlib.Path]:
    """A hidden directory beside `package` that becomes it when the block ends well, and vanishes otherwise.

    Raises:
        TrainingError: the place cannot be written, or a package appeared there meanwhile.
    """
    try:
        package.parent.mkdir(parents=True, exist_ok=True)
        hidden = pathlib.Path(tempfile.mkdtemp(prefix=f".{package.name}-", dir=str(package.parent)))
    except OSError as error:
        raise TrainingError(str(package.parent), f"cannot be written ({error.strerror})") from error
    try:
        content = hidden / "new"
        (content / STAGE).mkdir(parents=True)
        yield content
        refuse_existing(package, force=force)
        if package.exists():
            package.replace(hidden / "old")
        content.replace(package)
    except OSError as error:
        raise TrainingError(str(package), f"cannot be written ({error.strerror})") from error
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


def write_manifest(content: pathlib.Path, manifest: Dict[str, Any]) -> None:
    text = json.dumps(manifest, indent=2, ensure_ascii=False)
    (content / "manifest.json").write_text(text + "\n", encoding="utf-8")
