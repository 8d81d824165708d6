"""From what a network's file says of itself, and the options, to the manifest of its package; nothing is guessed."""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Tuple

from edge_agent.errors import EngineError, PackageError
from edge_agent.frame import CHANNELS
from edge_agent.model.anomalib_stage import (
    ANOMALY_MAP,
    MASK_OUTPUTS,
    NORMALIZED,
    ONE_IMAGE,
    PRED_LABEL,
    RAW,
    SCORE_OUTPUTS,
    AnomalibKeys,
)
from edge_agent.model.document import Size, anomalib_stage, identity, manifest_of, mochi_stage
from edge_agent.model.engine import Network, is_frozen
from edge_agent.packaging.model_settings import HEADS, PackageSettings

_BACKGROUND = "background"
_HALF = 0.5


def build_manifest(network: Network, runtime: str, settings: PackageSettings, image: Optional[Size]) -> Dict[str, Any]:
    """The manifest as a document.

    Args:
        network: inputs and outputs of the file.
        runtime: that reads it.
        settings: checked.
        image: (width, height) of the golden images, where they have one.

    Raises:
        PackageError, EngineError: the network is none that can be packaged so; the remedy says what to add.
    """
    subject = str(settings.file)
    size = _input_size(subject, network, settings)
    threshold = _HALF if settings.threshold is None else settings.threshold
    if settings.heads is None:
        keys = _anomalib_keys(subject, network, settings)
        stage = anomalib_stage(
            size, settings.raw_size, keys=keys, threshold=threshold, normalize=bool(settings.normalize)
        )
        pixel_classes = (_BACKGROUND, *(settings.classes or ("anomaly",))) if keys.mask_from else ()
    else:
        heads = HEADS[settings.heads]
        stage = mochi_stage(
            size,
            _mask_size(settings, image) if "mask" in heads else settings.raw_size or image,
            heads=heads,
            threshold=threshold,
            class_normal_ids=_normal_ids(settings) if "class" in heads else (),
            scale=settings.scale,
            normalize=settings.normalize is not False,
        )
        pixel_classes = (_BACKGROUND, *settings.classes) if "mask" in heads else ()
    return manifest_of(
        stage,
        pixel_classes=pixel_classes,
        image_classes=settings.image_classes,
        runtime=runtime,
        artifact=settings.file.name,
        package=identity(settings.name, settings.version),
    )


def output_names(network: Network) -> List[str]:
    return [name for output in network.outputs for name in output.names]


def _anomalib_keys(subject: str, network: Network, settings: PackageSettings) -> AnomalibKeys:
    names = output_names(network)
    score_from = next((name for name in SCORE_OUTPUTS if name in names), None)
    if score_from is None:
        found = ", ".join(map(str, network.outputs)) or "none"
        raise PackageError(
            subject,
            f"is no anomalib export: none of its outputs is called {' or '.join(SCORE_OUTPUTS)}; found {found}",
            "If it gives probabilities of the pixels' or the image's classes, say so with --heads and --class.",
        )
    kind = RAW if settings.raw_scores else NORMALIZED
    if settings.no_mask:
        return AnomalibKeys(score_from=score_from, score_kind=kind)
    mask_from = next((name for name in MASK_OUTPUTS if name in names), None)
    if settings.pixel_threshold is not None:
        if ANOMALY_MAP not in names:
            raise PackageError(subject, f"has no output {ANOMALY_MAP!r} to make a mask from by --pixel-threshold")
        mask_from = ANOMALY_MAP
    pixel_threshold = settings.pixel_threshold
    if mask_from == ANOMALY_MAP and pixel_threshold is None:
        if settings.raw_scores:
            raise PackageError(
                subject,
                "has a raw anomaly map and no mask of its own",
                "Say from which value on a pixel is anomalous with --pixel-threshold, or leave the mask out by --no-mask.",
            )
        pixel_threshold = _HALF
    return AnomalibKeys(score_from, mask_from, kind, pixel_threshold)


def _input_size(subject: str, network: Network, settings: PackageSettings) -> Size:
    """(width, height) of the input: the file's, else the one asked for, else that of an anomalib export's map."""
    if len(network.inputs) != 1 or len(network.inputs[0].shape) != 4 or network.inputs[0].shape[1] != CHANNELS:
        found = ", ".join(map(str, network.inputs)) or "none"
        raise EngineError(subject, f"does not take images: expected one input [1, {CHANNELS}, h, w]; found {found}")
    batch, _, height, width = network.inputs[0].shape
    if is_frozen(network.inputs[0]):
        remedy = ONE_IMAGE if settings.heads is None else "Export it anew for one."
        raise EngineError(subject, f"takes {batch} images at a time, not one", remedy)
    if isinstance(height, int) and isinstance(width, int):
        if settings.size not in (None, (width, height)):
            raise EngineError(subject, f"takes images of {width}x{height}, not of the size asked for")
        return width, height
    size = settings.size or _map_size(network)
    if size is None:
        raise EngineError(subject, "leaves the size of its input open", "Give it with --size WIDTHxHEIGHT.")
    return size


def _map_size(network: Network) -> Optional[Size]:
    """The size to which an export with an open input resizes by itself is that of its maps."""
    for output in network.outputs:
        if {*output.names} & {*MASK_OUTPUTS} and len(output.shape) >= 2:
            height, width = output.shape[-2:]
            if isinstance(height, int) and isinstance(width, int):
                return width, height
    return None


def _mask_size(settings: PackageSettings, image: Optional[Size]) -> Size:
    size = settings.raw_size or image
    if size is None:
        raise PackageError(
            str(settings.file),
            "needs the size of the images that it was made for, which the mask will have",
            "Give it with --raw-size WIDTHxHEIGHT, or golden images of that size with --golden.",
        )
    if not settings.classes:
        raise PackageError(
            str(settings.file),
            "needs the names of its mask's classes",
            "Give each but background with --class, in order.",
        )
    return size


def _normal_ids(settings: PackageSettings) -> Tuple[int, ...]:
    names = settings.image_classes
    if len(names) > 1 and "normal" not in names:
        raise PackageError("image classes", f"are {', '.join(names)}; one of them must be called normal")
    return tuple(index for index, name in enumerate(names) if name == "normal")


def has_own_label(network: Network, document: Dict[str, Any]) -> bool:
    """Whether an anomalib export also says by itself what the threshold of the manifest will decide."""
    keys = document["model_graph"]["stages"][0].get("anomalib")
    return keys is not None and keys.get("score_from") != PRED_LABEL and PRED_LABEL in output_names(network)
