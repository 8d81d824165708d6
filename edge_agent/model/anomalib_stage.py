"""The stage type `anomalib`: what a manifest says of an export of that library (docs/anomalib.md)."""

from __future__ import annotations

from typing import Iterator, Optional, Sequence, Tuple

import msgspec

#: The stage's type, and the name of its directory.
ANOMALIB = "anomalib"

#: The outputs of an export, by name; each export has some of them.
PRED_SCORE = "pred_score"
PRED_LABEL = "pred_label"
ANOMALY_MAP = "anomaly_map"
PRED_MASK = "pred_mask"

#: Where the score and the mask can come from, the best first.
SCORE_OUTPUTS = (PRED_SCORE, ANOMALY_MAP, PRED_LABEL)
MASK_OUTPUTS = (PRED_MASK, ANOMALY_MAP)

#: What the scores of an export are: anomalib scales scores and maps to 0..1, unless it is told not to.
NORMALIZED = "normalized"
RAW = "raw"

#: The runtimes that read an export.
RUNTIMES = ("onnx", "openvino")

#: How to have an export that takes one image.
ONE_IMAGE = (
    "Export it anew for one: engine.export(..., input_size=(HEIGHT, WIDTH), "
    "onnx_kwargs={'dynamic_axes': None, 'dynamic_shapes': None})."
)


class AnomalibKeys(msgspec.Struct, frozen=True, omit_defaults=True):
    """The key `anomalib` of such a stage.

    Attributes:
        score_from: the output that holds the score: `pred_score`, or the largest value of `anomaly_map`, or
            `pred_label`, which is 0 or 1.
        mask_from: the output that holds the mask: `pred_mask`, or `anomaly_map` above `pixel_threshold`; None for none.
        score_kind: `normalized` to 0..1, or `raw`: any number, the larger the worse.
        pixel_threshold: of the map, where the mask is made from it.
    """

    score_from: str = PRED_SCORE
    mask_from: Optional[str] = None
    score_kind: str = NORMALIZED
    pixel_threshold: Optional[float] = None


def find_faults(
    keys: AnomalibKeys, *, runtime: Optional[str], threshold: float, has_mask: bool, classes: Sequence[str]
) -> Iterator[Tuple[str, str]]:
    """What does not fit together, as (key path, reason); a path that starts with a dot lies below the stage.

    Args:
        keys: the stage's.
        runtime: of the manifest.
        threshold: of the stage.
        has_mask: its `segmentation_head_enabled`.
        classes: names of the pixel classes.
    """
    choices = (
        ("score_from", keys.score_from, SCORE_OUTPUTS),
        ("mask_from", keys.mask_from, (*MASK_OUTPUTS, None)),
        ("score_kind", keys.score_kind, (NORMALIZED, RAW)),
    )
    for key, value, allowed in choices:
        if value not in allowed:
            yield f".anomalib.{key}", f"is {value!r}, not one of {', '.join(map(str, filter(None, allowed)))}"
    if runtime not in RUNTIMES:
        yield "runtime", f"is {runtime!r}; an anomalib stage needs one of {', '.join(RUNTIMES)}"
    if has_mask is not (keys.mask_from is not None):
        yield ".segmentation_head_enabled", f"is {str(has_mask).lower()}, but anomalib.mask_from is {keys.mask_from!r}"
    if has_mask and len(classes) != 2:
        yield (
            "model_graph.pixel_level_classes.names",
            f"has {len(classes)} names; the mask of an anomalib stage has two classes, background and the anomaly",
        )
    if (keys.pixel_threshold is not None) is not (keys.mask_from == ANOMALY_MAP):
        yield ".anomalib.pixel_threshold", "goes with the mask_from 'anomaly_map', and only with that"
    if keys.score_kind == RAW and not threshold > 0:
        yield ".threshold", f"is {threshold}; with raw scores it must be above 0"
