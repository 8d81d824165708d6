"""manifest.json of a packaged model: typed, checked, nothing guessed (contract section 5.2, docs/model-package.md).

Keys that are not read here are tolerated. What is read must have the right type and make sense together; an error
names the exact key path, such as `model_graph.stages[0].threshold`.
"""

from __future__ import annotations

import math
import re
from typing import Any, Dict, List, Optional, Tuple

import msgspec

from edge_agent.contract import Performance
from edge_agent.errors import ManifestError
from edge_agent.frame import CHANNELS, MAX_SIDE
from edge_agent.model.anomalib_stage import ANOMALIB, AnomalibKeys, find_faults
from edge_agent.model.golden import Golden, find_fault
from edge_agent.model.palette import MAX_CLASSES

#: Largest manifest.json read, in bytes.
MAX_MANIFEST_BYTES = 4 * 1024 * 1024

#: The stage type of the service's own models.
MOCHI = "mochi"

#: Most engines that a package may ask for.
MAX_UNITS = 64

#: OpenCV's INTER_AREA, the resize of a stage that names none.
INTER_AREA = 3

#: The values of `runtime` for a network that such a runtime reads as it is.
ONNX, OPENVINO = "onnx", "openvino"

#: The values of `runtime` that stand for a model compiled by SageMaker Neo. The service's own packages name none.
NEO_RUNTIMES = (None, "dlr")

_INTERPOLATIONS = range(7)  # OpenCV's codes: nearest, linear, cubic, area, Lanczos, linear exact, nearest exact
# They would change what the other stage type answers: refused there, not passed over.
_MOCHI_KEYS = ("calibrated", "seg_recall_bias", "classification_logic")
_LOGICS = ("cls_head", "seg_head", "cls_and_seg", "cls_or_seg")
_STAGE = "model_graph.stages[0]"
_STAGES = (MOCHI, ANOMALIB)


class ClassTable(msgspec.Struct, frozen=True):
    """Class names by index, and which of them are normal."""

    names: Tuple[str, ...] = ()
    normal_ids: Tuple[int, ...] = ()


class Stage(msgspec.Struct, frozen=True):
    """One stage of a model graph. Sizes in pixels; `raw_image_shape` is (height, width) of the training images."""

    type: str
    image_width: int
    image_height: int
    image_range_scale: bool
    normalize: bool
    threshold: float
    input_shape: Optional[Tuple[int, ...]] = None
    raw_image_shape: Optional[Tuple[int, ...]] = None
    interpolation: Optional[int] = None
    classification_head_enabled: bool = True
    segmentation_head_enabled: bool = False
    class_normal_ids: Optional[Tuple[int, ...]] = None
    seg_normal_ids: Optional[Tuple[int, ...]] = None
    calibrated: bool = False
    max_val_score: Optional[float] = None
    calibrator_scaling: Optional[float] = None
    calibrator_shift: Optional[float] = None
    seg_recall_bias: Optional[float] = None
    classification_logic: Optional[str] = None
    transform_preprocessing: Optional[str] = None
    anomalib: AnomalibKeys = AnomalibKeys()
    takes_pixels: bool = False

    @property
    def network_input(self) -> Tuple[Tuple[int, int, int, int], str]:
        """Shape of the network's input, and its type as numpy names it.

        A network that takes pixels gets those of the resized image, RGB888, and scales and normalises them by itself.
        """
        if self.takes_pixels:
            return (1, self.image_height, self.image_width, CHANNELS), "uint8"
        return (1, CHANNELS, self.image_height, self.image_width), "float32"


class ModelGraph(msgspec.Struct, frozen=True):
    model_graph_type: str
    stages: Tuple[Stage, ...]
    image_level_classes: ClassTable = ClassTable()
    pixel_level_classes: ClassTable = ClassTable()


class PackageInfo(msgspec.Struct, frozen=True):
    """What the package says of itself; a key of ours, absent from the service's packages.

    Inference units are the service's term for what serves a model; here one is one loaded engine. `files` are the
    SHA-256 of the other files by their places (seal.py).
    """

    name: Optional[str] = None
    version: Optional[str] = None
    model_arn: Optional[str] = None
    autostart: bool = False
    min_inference_units: Optional[int] = None
    max_inference_units: Optional[int] = None
    golden: Golden = Golden()
    files: Optional[Dict[str, str]] = None


class Manifest(msgspec.Struct, frozen=True):
    """A checked manifest. `performance` and `training` are free-form: carried along, and shown where they are known."""

    model_graph: ModelGraph
    runtime: Optional[str] = None
    runtime_artifact: Optional[str] = None
    package: PackageInfo = PackageInfo()
    performance: Dict[str, Any] = msgspec.field(default_factory=dict)
    training: Dict[str, Any] = msgspec.field(default_factory=dict)

    @property
    def stage(self) -> Stage:
        return self.model_graph.stages[0]

    @property
    def held_out_performance(self) -> Optional[Performance]:
        """On the images that a training held out, as `edge-agent train` writes it; None where nothing is said."""
        return Performance.of(self.performance.get("held_out"), "f1", "recall", "precision")

    @property
    def image_class_names(self) -> Tuple[str, ...]:
        return self.model_graph.image_level_classes.names

    @property
    def pixel_class_names(self) -> Tuple[str, ...]:
        return self.model_graph.pixel_level_classes.names

    @property
    def class_normal_ids(self) -> Tuple[int, ...]:
        """Image-level classes that are no anomaly: the stage's own list, else the class table's."""
        own = self.stage.class_normal_ids
        return self.model_graph.image_level_classes.normal_ids if own is None else own

    @property
    def seg_normal_ids(self) -> Tuple[int, ...]:
        """Pixel-level classes that are no anomaly: the stage's own list, else the class table's."""
        own = self.stage.seg_normal_ids
        return self.model_graph.pixel_level_classes.normal_ids if own is None else own

    @property
    def reports_mask(self) -> bool:
        return self.stage.segmentation_head_enabled and bool(self.pixel_class_names)

    @property
    def mask_size(self) -> Optional[Tuple[int, int]]:
        """(height, width) of the mask in pixels; None for a model that reports none, or one of the image's size."""
        if not (self.reports_mask and self.stage.raw_image_shape):
            return None
        height, width = self.stage.raw_image_shape
        return height, width


class _StageOutline(msgspec.Struct):
    type: str


class _GraphOutline(msgspec.Struct):
    model_graph_type: str
    stages: List[_StageOutline]


class _Outline(msgspec.Struct):
    """What every manifest has, so that a graph or stage we cannot run is named before its other keys are judged."""

    model_graph: _GraphOutline


def parse_manifest(data: bytes, source: str) -> Manifest:
    """Read and check a manifest.

    Args:
        data: the bytes of manifest.json.
        source: where they came from, for messages.

    Raises:
        ManifestError: not JSON, a wrong type, a missing key, or keys that do not fit together.
    """
    try:
        document = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ManifestError(source, f"is not valid JSON ({error})") from error
    try:
        _check_outline(msgspec.convert(document, _Outline), source)
        manifest = msgspec.convert(document, Manifest)
    except msgspec.ValidationError as error:
        path, reason = _explain(str(error))
        raise ManifestError(f"{source}: {path}" if path else source, reason) from error
    _Checks(manifest, source).run()
    return manifest


def _check_outline(outline: _Outline, source: str) -> None:
    graph = outline.model_graph
    if graph.model_graph_type != "single_stage_model_graph":
        raise ManifestError(
            f"{source}: model_graph.model_graph_type",
            f"is {graph.model_graph_type!r}, which is not supported",
            "Only 'single_stage_model_graph' is.",
        )
    if len(graph.stages) != 1:
        raise ManifestError(
            f"{source}: model_graph.stages", f"holds {len(graph.stages)} stages; a single-stage graph has exactly one"
        )
    kind = graph.stages[0].type
    if kind not in _STAGES:
        raise ManifestError(
            f"{source}: {_STAGE}.type",
            f"is {kind!r}, a stage type that is not supported",
            f"Only {' and '.join(map(repr, _STAGES))} are.",
        )


_MISSING = re.compile(r"Object missing required field `(?P<key>[^`]+)`")
_PLACE = re.compile(r" - at `\$\.?(?P<path>[^`]*)`$")


def _explain(text: str) -> Tuple[str, str]:
    """Split a sentence of msgspec into (key path, reason)."""
    place = _PLACE.search(text)
    path = place.group("path") if place else ""
    reason = text[: place.start()] if place else text
    missing = _MISSING.fullmatch(reason)
    if missing:
        return (f"{path}.{missing.group('key')}" if path else missing.group("key")), "is missing"
    return path, f"has the wrong type: {reason[:1].lower()}{reason[1:]}"


class _Checks:
    """The rules that types alone do not express."""

    def __init__(self, manifest: Manifest, source: str) -> None:
        self._manifest = manifest
        self._stage = manifest.stage
        self._source = source

    def run(self) -> None:
        self._check_sizes()
        self._check_heads()
        self._check_ids("class_normal_ids", self._manifest.class_normal_ids, self._manifest.image_class_names)
        self._check_ids("seg_normal_ids", self._manifest.seg_normal_ids, self._manifest.pixel_class_names)
        self._check_numbers()
        self._check_options()
        self._check_anomalib()
        self._check_units()
        self._check_golden()

    def _fail(self, key: str, reason: str) -> None:
        raise ManifestError(f"{self._source}: {key}", reason)

    def _check_sizes(self) -> None:
        stage = self._stage
        for key in ("image_width", "image_height"):
            side = getattr(stage, key)
            if not 1 <= side <= MAX_SIDE:
                self._fail(f"{_STAGE}.{key}", f"is {side}, not 1 to {MAX_SIDE} pixels")
        expected, _ = stage.network_input
        if stage.input_shape is not None and stage.input_shape != expected:
            self._fail(
                f"{_STAGE}.input_shape",
                f"is {list(stage.input_shape)}, but image_height and image_width make it {list(expected)}",
            )
        raw = stage.raw_image_shape
        if raw is not None and (len(raw) != 2 or not all(1 <= side <= MAX_SIDE for side in raw)):
            self._fail(f"{_STAGE}.raw_image_shape", f"is {list(raw)}, not [height, width] of 1 to {MAX_SIDE} pixels")

    def _check_heads(self) -> None:
        stage, names = self._stage, self._manifest.pixel_class_names
        if not (stage.classification_head_enabled or stage.segmentation_head_enabled):
            self._fail(f"{_STAGE}.classification_head_enabled", "is false, and so is segmentation_head_enabled")
        if stage.classification_head_enabled and not self._manifest.image_class_names:
            self._fail("model_graph.image_level_classes.names", "is empty, but the classification head is enabled")
        if len(names) > MAX_CLASSES:
            self._fail(
                "model_graph.pixel_level_classes.names",
                f"has {len(names)} names; the palette has {MAX_CLASSES} colours",
            )
        if stage.type == MOCHI and self._manifest.reports_mask and stage.raw_image_shape is None:
            self._fail(f"{_STAGE}.raw_image_shape", "is missing; the segmentation head needs it for the mask's size")

    def _check_ids(self, key: str, ids: Tuple[int, ...], names: Tuple[str, ...]) -> None:
        if not names:
            return  # a head that is off, or a segmentation head whose mask is not reported
        wrong = [index for index in ids if not 0 <= index < len(names)]
        if wrong:
            table = "image_level_classes" if key == "class_normal_ids" else "pixel_level_classes"
            own = getattr(self._stage, key) is not None
            place = f"{_STAGE}.{key}" if own else f"model_graph.{table}.normal_ids"
            self._fail(place, f"holds {wrong[0]}, but {table} has {len(names)} names")

    def _check_numbers(self) -> None:
        keys = ["threshold", "max_val_score", "calibrator_scaling", "calibrator_shift", "seg_recall_bias"]
        for key in keys:
            value = getattr(self._stage, key)
            if value is not None and not math.isfinite(value):
                self._fail(f"{_STAGE}.{key}", f"is {value}, not a finite number")
        if self._stage.calibrated:
            for key in ("calibrator_scaling", "calibrator_shift"):
                if getattr(self._stage, key) is None:
                    self._fail(f"{_STAGE}.{key}", "is missing, but the stage is calibrated")

    def _check_options(self) -> None:
        stage = self._stage
        if stage.takes_pixels and self._manifest.runtime != ONNX:
            self._fail(f"{_STAGE}.takes_pixels", f"is true, which only the runtime {ONNX!r} can do")
        if stage.interpolation is not None and stage.interpolation not in _INTERPOLATIONS:
            self._fail(f"{_STAGE}.interpolation", f"is {stage.interpolation}, not an OpenCV resize code of 0 to 6")
        if stage.transform_preprocessing:
            self._fail(
                f"{_STAGE}.transform_preprocessing", f"is {stage.transform_preprocessing!r}, which is not supported"
            )
        logic = stage.classification_logic
        if not logic:
            return
        key = f"{_STAGE}.classification_logic"
        if logic not in _LOGICS:
            self._fail(key, f"is {logic!r}, not one of {', '.join(_LOGICS)}")
        if "cls" in logic and not stage.classification_head_enabled:
            self._fail(key, f"is {logic!r}, but the classification head is off")
        if "seg" in logic and not self._manifest.reports_mask:
            self._fail(key, f"is {logic!r}, but the model reports no mask")

    def _check_anomalib(self) -> None:
        stage = self._stage
        if stage.type != ANOMALIB:
            return
        for key in _MOCHI_KEYS:
            if getattr(stage, key):
                self._fail(f"{_STAGE}.{key}", f"has no meaning in a stage of type {ANOMALIB!r}")
        faults = find_faults(
            stage.anomalib,
            runtime=self._manifest.runtime,
            threshold=stage.threshold,
            has_mask=stage.segmentation_head_enabled,
            classes=self._manifest.pixel_class_names,
        )
        for key, reason in faults:
            self._fail(f"{_STAGE}{key}" if key.startswith(".") else key, reason)

    def _check_units(self) -> None:
        about = self._manifest.package
        least = 1
        for key in ("min_inference_units", "max_inference_units"):
            value = getattr(about, key)
            if value is not None and not least <= value <= MAX_UNITS:
                self._fail(f"package.{key}", f"is {value}, not {least} to {MAX_UNITS}")
            least = value or least

    def _check_golden(self) -> None:
        classes = self._manifest.pixel_class_names if self._manifest.reports_mask else ()
        fault = find_fault(self._manifest.package.golden, classes)
        if fault is not None:
            self._fail(f"package.golden{fault[0]}", fault[1])
