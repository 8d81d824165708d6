"""From a Ground Truth manifest to a packaged model, and to numbers about it that the package itself produced."""

from __future__ import annotations

import importlib.util
import pathlib
import time
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Sequence, Tuple

import msgspec
import numpy as np

from edge_agent.errors import MissingExtraError
from edge_agent.model import load_model, open_package
from edge_agent.model.document import identity, manifest_of, mochi_stage
from edge_agent.model.draft import draft, refuse_existing, write_manifest
from edge_agent.model.manifest import MOCHI, ONNX, Stage
from edge_agent.model.palette import rgb_table
from edge_agent.model.selftest import GoldenSource, record_golden
from edge_agent.training import scores
from edge_agent.training.ground_truth import Example, LabelledSet, read_ground_truth
from edge_agent.training.settings import TrainingResult, TrainingSettings, default_epochs, input_size
from edge_agent.training.split import split

_ARTIFACT = "model.onnx"
_FIRST_THRESHOLD = 0.5
_GOLDEN_OF_EACH = 2  # normal and anomalous images


def train(settings: TrainingSettings, report: Callable[[Any], None]) -> TrainingResult:
    """Train a model and write its package to `settings.package`.

    Args:
        settings: what to learn from and how.
        report: called after each epoch with a `fit.Progress`.

    Raises:
        TrainingError: settings, manifest, images or masks that cannot be trained on, or a place that cannot be written.
        MissingExtraError: the extra `train` is not installed.
    """
    began = time.monotonic()
    settings.check()
    _require_extra()
    refuse_existing(settings.package, force=settings.force)
    job = _Job.prepared(settings)
    graph = _fitted_graph(job, report)
    with draft(settings.package, MOCHI, force=settings.force) as content:
        (content / MOCHI / _ARTIFACT).write_bytes(graph)
        document = job.manifest(_FIRST_THRESHOLD)
        write_manifest(content, document)
        held, seen = _judged(content, job)
        threshold = scores.choose_threshold(held.found, held.truth, seen.found, seen.truth)
        performance = _performance(held, seen, threshold)
        document = job.manifest(threshold)
        document["training"]["wall_seconds"] = round(time.monotonic() - began, 1)
        document["performance"] = performance
        write_manifest(content, document)
        document["package"]["golden"] = _golden(content, job)
        write_manifest(content, document)
    return TrainingResult(settings.package, performance, document["training"])


@dataclass(frozen=True)
class _Job:
    """A training whose data have been looked at; sizes are (width, height)."""

    settings: TrainingSettings
    labelled: LabelledSet
    training: List[Example]
    held: List[Example]
    image: Tuple[int, int]
    size: Tuple[int, int]
    epochs: int

    @classmethod
    def prepared(cls, settings: TrainingSettings) -> _Job:
        labelled = read_ground_truth(settings.manifest)
        training, held = split(labelled, settings.holdout, settings.seed)
        from edge_agent.training.pictures import common_size

        image = common_size(labelled.examples)
        return cls(
            settings=settings,
            labelled=labelled,
            training=training,
            held=held,
            image=image,
            size=settings.size or input_size(image),
            epochs=settings.epochs or default_epochs(len(training)),
        )

    @property
    def classes(self) -> Tuple[str, ...]:
        return self.labelled.classes

    def stage(self, threshold: float) -> Dict[str, Any]:
        heads = ("mask", "class") if self.classes else ("class",)
        return mochi_stage(self.size, self.image, heads=heads, threshold=threshold)

    def manifest(self, threshold: float) -> Dict[str, Any]:
        settings = self.settings
        training = {
            "seed": settings.seed,
            "images": len(self.labelled.examples),
            "anomalous_images": sum(example.is_anomalous for example in self.labelled.examples),
            "split": {"training": len(self.training), "held_out": len(self.held), "holdout": settings.holdout},
            "held_out_images": [example.image.name for example in self.held],
            "epochs": self.epochs,
            "threshold_chosen_on": "held_out",
        }
        document = manifest_of(
            self.stage(threshold),
            pixel_classes=self.classes,
            runtime=ONNX,
            artifact=_ARTIFACT,
            package=identity(settings.name, settings.version),
        )
        return {**document, "training": training}


def _require_extra() -> None:
    """Say at once that something is missing, not after the images are read."""
    for package in ("torch", "onnx", "onnxruntime", "cv2"):
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError("opencv-python-headless" if package == "cv2" else package, "train")


def _fitted_graph(job: _Job, report: Callable[[Any], None]) -> bytes:
    """Train; PyTorch and ONNX are imported here and nowhere else."""
    from edge_agent.model.preprocess import Preprocessor
    from edge_agent.training import fit, graph
    from edge_agent.training.pictures import load_pictures

    stage = msgspec.convert(job.stage(_FIRST_THRESHOLD), Stage)
    net = fit.fit(
        load_pictures(job.training, job.classes, job.size),
        Preprocessor(stage),
        classes=len(job.classes),
        epochs=job.epochs,
        seed=job.settings.seed,
        threads=job.settings.threads,
        report=report,
    )
    return graph.build_graph(net, *job.size)


@dataclass(frozen=True)
class _Judgement:
    """What the finished package says about some images: scores found, the truth, and IoU by class."""

    found: scores.Floats
    truth: scores.Flags
    overlap: Dict[str, Any]


def _judged(content: pathlib.Path, job: _Job) -> Tuple[_Judgement, _Judgement]:
    """The package's own verdicts on the held-out and on the training images."""
    with open_package(content) as package:
        model = load_model(package, threads=job.settings.threads)
        try:
            return _judge(model, job.held, job.classes), _judge(model, job.training, job.classes)
        finally:
            model.close()


def _golden(content: pathlib.Path, job: _Job) -> Any:
    """Some of the held-out images, put into the package with what it says of them, for its self-test."""
    from edge_agent.training.pictures import read_image

    chosen = [
        example
        for anomalous in (False, True)
        for example in [held for held in job.held if held.is_anomalous is anomalous][:_GOLDEN_OF_EACH]
    ]
    with open_package(content) as package:
        model = load_model(package, threads=job.settings.threads)
    try:
        golden = record_golden(
            model, content, [GoldenSource(example.image.stem, read_image(example)) for example in chosen]
        )
    finally:
        model.close()
    return msgspec.to_builtins(golden)


def _judge(model: Any, examples: Sequence[Example], classes: Sequence[str]) -> _Judgement:
    from edge_agent.training.pictures import UNLABELLED, read_image, read_mask

    found = []
    overlap = scores.IntersectionOverUnion(classes)
    for example in examples:
        image = read_image(example)
        verdict = model.detect(image)
        found.append(verdict.score)
        if verdict.mask is not None:
            truth = read_mask(example, classes, (image.shape[0], image.shape[1]))
            if UNLABELLED not in truth:
                overlap.add(_indices(verdict.mask, len(classes)), truth)
    return _Judgement(
        np.array(found, dtype=np.float64), np.array([example.is_anomalous for example in examples]), overlap.by_class()
    )


def _indices(mask: Any, classes: int) -> Any:
    """Class indices of a coloured mask."""
    codes = mask.astype(np.uint32) @ np.array([65536, 256, 1], dtype=np.uint32)
    indices = np.zeros(codes.shape, dtype=np.uint8)
    for index, color in enumerate(rgb_table()[:classes]):
        indices[codes == int.from_bytes(color.tobytes(), "big")] = index
    return indices


def _performance(held: _Judgement, seen: _Judgement, threshold: float) -> Dict[str, Any]:
    """Held-out numbers at the chosen threshold and at 0.5, which nothing was chosen for; then those of the training."""
    performance: Dict[str, Any] = {"threshold": threshold}
    for name, judgement in (("held_out", held), ("training", seen)):
        performance[name] = {
            "images": len(judgement.found),
            **scores.image_metrics(judgement.found, judgement.truth, threshold),
            "f1_at_half": scores.image_metrics(judgement.found, judgement.truth, _FIRST_THRESHOLD)["f1"],
            "auroc": scores.auroc(judgement.found, judgement.truth),
            "mask_iou": judgement.overlap,
        }
    return performance
