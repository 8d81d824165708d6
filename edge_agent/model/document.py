"""A manifest.json to be: the documents that whoever makes a package fills in (contract section 5.2)."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any, Dict, Optional, Sequence, Tuple

import msgspec

from edge_agent import __version__
from edge_agent.model.anomalib_stage import ANOMALIB, AnomalibKeys
from edge_agent.model.manifest import INTER_AREA, MOCHI

#: Names of packages, which are names of model components, and their versions.
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
VERSION = re.compile(r"\d+\.\d+\.\d+")

Size = Tuple[int, int]


def mochi_stage(
    size: Size,
    image: Optional[Size],
    *,
    heads: Sequence[str],
    threshold: float,
    class_normal_ids: Sequence[int] = (1,),
    scale: bool = True,
    normalize: bool = True,
) -> Dict[str, Any]:
    """A stage of the service's own kind.

    Args:
        size: (width, height) of the network's input.
        image: (width, height) of the images it was made for, and of the mask.
        heads: "mask", "class" or both.
        threshold: of the score.
        class_normal_ids: image-level classes that are no anomaly.
        scale: divide by 255.
        normalize: by ImageNet's mean and deviation.
    """
    return {
        **_common(MOCHI, size, image, threshold, scale=scale, normalize=normalize, masks="mask" in heads),
        "classification_head_enabled": "class" in heads,
        "class_normal_ids": list(class_normal_ids),
        "seg_normal_ids": [0] if "mask" in heads else [],
        "calibrated": False,
    }


def anomalib_stage(
    size: Size, image: Optional[Size], *, keys: AnomalibKeys, threshold: float, normalize: bool = False
) -> Dict[str, Any]:
    """A stage of an anomalib export; without `image` its mask has the size of each image."""
    return {
        **_common(ANOMALIB, size, image, threshold, scale=True, normalize=normalize, masks=keys.mask_from is not None),
        "classification_head_enabled": True,
        ANOMALIB: msgspec.to_builtins(keys),
    }


def _common(
    kind: str, size: Size, image: Optional[Size], threshold: float, *, scale: bool, normalize: bool, masks: bool
) -> Dict[str, Any]:
    width, height = size
    stage: Dict[str, Any] = {
        "type": kind,
        "input_shape": [1, 3, height, width],
        "image_width": width,
        "image_height": height,
        "image_range_scale": scale,
        "normalize": normalize,
        "interpolation": INTER_AREA,
        "threshold": threshold,
        "segmentation_head_enabled": masks,
    }
    if image is not None:
        stage["raw_image_shape"] = [image[1], image[0]]
    return stage


def manifest_of(
    stage: Dict[str, Any],
    *,
    pixel_classes: Sequence[str],
    image_classes: Sequence[str] = ("anomaly", "normal"),
    runtime: str,
    artifact: str,
    package: Dict[str, Any],
) -> Dict[str, Any]:
    """The whole document; `training` and `performance` are added by who knows them.

    Args:
        stage: made by one of the functions above.
        pixel_classes: of the mask, background first; empty for none.
        image_classes: of the score.
        runtime: `onnx` or `openvino`.
        artifact: the network's file in the stage's directory.
        package: made by `identity`.
    """
    normal_ids = stage.get("class_normal_ids", [image_classes.index("normal")] if "normal" in image_classes else [])
    document: Dict[str, Any] = {
        "model_graph": {
            "model_graph_type": "single_stage_model_graph",
            "stages": [stage],
            "image_level_classes": {"names": list(image_classes), "normal_ids": normal_ids},
            "pixel_level_classes": {"names": list(pixel_classes), "normal_ids": [0] if pixel_classes else []},
        },
        "compilable_models": [
            {
                "filename": artifact,
                "data_input_config": {"input": stage["input_shape"]},
                "framework": runtime.upper(),
            }
        ],
    }
    if "raw_image_shape" in stage:
        height, width = stage["raw_image_shape"]
        document["dataset"] = {"image_width": width, "image_height": height}
    return {**document, "runtime": runtime, "runtime_artifact": artifact, "package": package}


def identity(name: str, version: str) -> Dict[str, Any]:
    """What a package says of itself."""
    now = dt.datetime.now(dt.timezone.utc)
    return {
        "name": name,
        "version": version,
        "created": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "tool": f"edge-agent {__version__}",
    }
