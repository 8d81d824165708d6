"""A loaded model: pixels in, verdict out."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any, Optional, Protocol, Sequence, Tuple

import numpy as np

from edge_agent.errors import ImageError
from edge_agent.frame import CHANNELS, Pixels
from edge_agent.model.anomalib_stage import ANOMALIB
from edge_agent.model.engine import Engine
from edge_agent.model.manifest import NEO_RUNTIMES, OPENVINO, Manifest
from edge_agent.model.package import ModelPackage
from edge_agent.model.providers import OnnxOptions
from edge_agent.model.seal import check_files
from edge_agent.model.verdict import StageTimings, Verdict

_WARM_UP_RUNS = 3  # as the service's own runtime does
_NS_PER_MS = 1e6


class _Postprocessor(Protocol):
    def run(self, outputs: Sequence[Any], mask_out: Optional[Pixels] = None) -> Verdict:
        """Decide by the outputs of the network."""


class Model:
    """A model ready to run. Not thread-safe: one caller at a time. Make one with `load_model`."""

    def __init__(self, manifest: Manifest, engine: Engine) -> None:
        from edge_agent.model.preprocess import Preprocessor

        self.manifest = manifest
        self._engine = engine
        self._preprocessor = Preprocessor(manifest.stage)
        self._postprocessor = _postprocessor(manifest, engine)

    def mask_size_for(self, height: int, width: int) -> Optional[Tuple[int, int]]:
        """(height, width) of the mask of an image of that size, in pixels; None for a model that reports none."""
        if not self.manifest.reports_mask:
            return None
        return self.manifest.mask_size or (height, width)

    @property
    def backend(self) -> str:
        """What runs this model, for people to read: "ONNX Runtime 1.31.1, cpu"."""
        return self._engine.backend

    @property
    def failure(self) -> Optional[str]:
        """Why this model can never predict again and must be loaded anew; None as long as it can. From any thread."""
        return self._engine.failure

    def detect(self, pixels: Pixels, mask_out: Optional[Pixels] = None) -> Verdict:
        """Inspect one image.

        Args:
            pixels: RGB888, shape (height, width, 3), uint8; any size, it is resized to the model's.
            mask_out: where the mask goes: uint8, C-contiguous, writable, shape (*mask_size_for(height, width), 3).
                Without it a new array is made. A model without a mask leaves it untouched.

        Raises:
            ImageError: pixels or mask_out of another shape or type.
            EngineError: the engine failed.
        """
        if pixels.ndim != 3 or pixels.shape[2] != CHANNELS:
            raise ImageError("image", f"has shape {pixels.shape}, not (height, width, 3)")
        mask_out = self._mask_target(pixels, mask_out)
        began = time.monotonic_ns()
        tensor = self._preprocessor.run(pixels)
        prepared = time.monotonic_ns()
        outputs = self._engine.run(tensor)
        inferred = time.monotonic_ns()
        verdict = self._postprocessor.run(outputs, mask_out)
        decided = time.monotonic_ns()
        timings = StageTimings(
            preprocess=(prepared - began) / _NS_PER_MS,
            inference=(inferred - prepared) / _NS_PER_MS,
            postprocess=(decided - inferred) / _NS_PER_MS,
        )
        return replace(verdict, timings=timings)

    def warm_up(self) -> None:
        """Three predictions on random grey images, so that the first real call finds everything loaded.

        Raises:
            EngineError: the model cannot predict.
        """
        stage = self.manifest.stage
        if self.manifest.mask_size is not None:
            self._preprocessor.prepare(
                *self.manifest.mask_size
            )  # the size of the training images, most likely the camera's
        random = np.random.default_rng(0)
        for _ in range(_WARM_UP_RUNS):
            grey = random.integers(0, 256, (stage.image_height, stage.image_width, 1), dtype=np.uint8)
            self.detect(np.repeat(grey, CHANNELS, axis=2))

    def close(self) -> None:
        self._engine.close()

    def _mask_target(self, pixels: Pixels, mask_out: Optional[Pixels]) -> Optional[Pixels]:
        """Where the mask goes; None for a model that reports none."""
        size = self.mask_size_for(pixels.shape[0], pixels.shape[1])
        if size is None:
            return None
        wanted = (*size, CHANNELS)
        if mask_out is None:
            return np.empty(wanted, dtype=np.uint8)
        flags = mask_out.flags
        if mask_out.shape != wanted or mask_out.dtype != np.uint8 or not (flags.c_contiguous and flags.writeable):
            raise ImageError("mask_out", f"has shape {mask_out.shape}, not a writable contiguous uint8 {wanted}")
        return mask_out


def load_model(package: ModelPackage, *, threads: int, onnx: Optional[OnnxOptions] = None) -> Model:
    """Load the compiled model of a package. The package may be closed afterwards.

    Its files are held against its manifest first, where that lists them.
    OpenCV's own threads are switched off for the whole process: two pools on the same cores double the slowest calls
    (`threads` is the budget of one inference).

    Args:
        package: what to load.
        threads: for one inference.
        onnx: how ONNX packages are run; the others take no notice.

    Raises:
        PackageError, ManifestError, EngineError: as their names say.
        MissingExtraError: OpenCV, ONNX Runtime or OpenVINO is not installed.
    """
    if threads < 1:
        raise ValueError("a model needs at least one thread")
    from edge_agent.model.preprocess import use_one_opencv_thread

    use_one_opencv_thread()
    check_files(package)
    engine = _open_engine(package, threads, onnx)
    try:
        return Model(package.manifest, engine)
    except BaseException:
        engine.close()
        raise


def _open_engine(package: ModelPackage, threads: int, onnx: Optional[OnnxOptions]) -> Engine:
    manifest = package.manifest
    if manifest.runtime in NEO_RUNTIMES:
        from edge_agent.model.engine_neo import open_compiled

        return open_compiled(package.stage_directory(), manifest, threads=threads)
    artifact = package.artifact()
    if manifest.runtime == OPENVINO:
        from edge_agent.model.engine_openvino import OpenVinoEngine

        return OpenVinoEngine(artifact, manifest, threads=threads)
    from edge_agent.model.engine_onnx import OnnxEngine

    return OnnxEngine(artifact, manifest, name=package.name, threads=threads, options=onnx)


def _postprocessor(manifest: Manifest, engine: Engine) -> _Postprocessor:
    if manifest.stage.type == ANOMALIB:
        from edge_agent.model.anomalib import AnomalibPostprocessor

        return AnomalibPostprocessor(manifest)
    from edge_agent.model.postprocess import Postprocessor

    mask = engine.output_shapes[0] if manifest.stage.segmentation_head_enabled else None
    return Postprocessor(manifest, (mask[2], mask[3]) if mask else None)
