"""From a Ground Truth manifest to a packaged model, and to numbers about it that the package itself produced."""

from __future__ import annotations

import contextlib
import importlib.util
import pathlib
import time
from dataclasses import dataclass
from typing import Any, Callable, Dict, Iterator, List, Tuple

import msgspec

from edge_agent.errors import MissingExtraError
from edge_agent.model import Model, load_model, open_package
from edge_agent.model.document import identity, manifest_of, mochi_stage
from edge_agent.model.draft import draft, refuse_existing, write_manifest
from edge_agent.model.manifest import MOCHI, ONNX, Stage
from edge_agent.model.selftest import GoldenSource, record_golden
from edge_agent.training import scores
from edge_agent.training.checkpoint import Checkpoint, fingerprint_of, open_checkpoint
from edge_agent.training.contact_sheet import contact_sheet
from edge_agent.training.evaluation import Evaluation, evaluate, judge_of
from edge_agent.training.ground_truth import Example, LabelledSet, manifest_digest, read_ground_truth
from edge_agent.training.locations import Locations
from edge_agent.training.pictures import Pictures, common_size, load_pictures, read_image
from edge_agent.training.report import Report, write_report
from edge_agent.training.settings import TrainingResult, TrainingSettings, default_epochs, input_size
from edge_agent.training.split import split

_ARTIFACT = "model.onnx"
_FIRST_THRESHOLD = 0.5
_GOLDEN_OF_EACH = 2  # normal and anomalous images


def train(settings: TrainingSettings, report: Callable[[Any], None]) -> TrainingResult:
    """Train a model and write its package to `settings.package`, and a report to `settings.report_file`.

    A training that was cut short leaves its state beside the package to be; the next one of the same images and
    settings goes on with it, and gives what the first one would have given.

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
    pictures = load_pictures(job.training, job.classes, job.size)
    with open_checkpoint(
        settings.package, job.fingerprint(pictures), resume=settings.resume, every_s=settings.checkpoint_s
    ) as checkpoint:
        graph, fitted = _fitted_graph(job, pictures, checkpoint, report)
        with draft(settings.package, MOCHI, force=settings.force) as content:
            (content / MOCHI / _ARTIFACT).write_bytes(graph)
            document = job.manifest(_FIRST_THRESHOLD)
            write_manifest(content, document)
            with _loaded(content, settings) as model:
                held = evaluate(job.held, job.classes, judge_of(model))
                seen = evaluate(job.training, job.classes, judge_of(model))
            threshold = scores.choose_threshold(held.anomaly_scores, held.truth, seen.anomaly_scores, seen.truth)
            document = job.manifest(threshold)
            document["performance"] = _performance(held, seen, threshold)
            write_manifest(content, document)
            with _loaded(content, settings) as model:
                document["package"]["golden"] = _golden(content, job, model)
                sheet = contact_sheet(held, seen, threshold, job.classes, judge_of(model))
            document["training"]["device"] = fitted.device
            document["training"]["wall_seconds"] = round(time.monotonic() - began + fitted.earlier_s, 1)
            write_manifest(content, document)
        write_report(settings.report_file, Report(document, fitted.losses, held, seen, sheet))
    return TrainingResult(settings.package, settings.report_file, document["performance"], document["training"])


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
        locations = Locations(settings.manifest.parent, settings.mapped, settings.s3_cache)
        labelled = read_ground_truth(settings.manifest, locations)
        training, held = split(labelled, settings.holdout, settings.seed)
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

    def fingerprint(self, pictures: Pictures) -> str:
        return fingerprint_of(
            pictures, classes=self.classes, size=self.size, epochs=self.epochs, seed=self.settings.seed
        )

    def stage(self, threshold: float) -> Dict[str, Any]:
        heads = ("mask", "class") if self.classes else ("class",)
        return mochi_stage(self.size, self.image, heads=heads, threshold=threshold)

    def manifest(self, threshold: float) -> Dict[str, Any]:
        settings = self.settings
        training = {
            "manifest_sha256": manifest_digest(settings.manifest),
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


def _fitted_graph(
    job: _Job, pictures: Pictures, checkpoint: Checkpoint, report: Callable[[Any], None]
) -> Tuple[bytes, Any]:
    """Train: the network's file, and a `fit.Fitted`. PyTorch and ONNX are imported here and by the checkpoint alone."""
    from edge_agent.model.preprocess import Preprocessor
    from edge_agent.training import fit, graph

    stage = msgspec.convert(job.stage(_FIRST_THRESHOLD), Stage)
    fitted = fit.fit(
        pictures,
        Preprocessor(stage),
        classes=len(job.classes),
        epochs=job.epochs,
        seed=job.settings.seed,
        threads=job.settings.threads,
        device=job.settings.device,
        checkpoint=checkpoint,
        report=report,
    )
    return graph.build_graph(fitted.net, *job.size), fitted


@contextlib.contextmanager
def _loaded(content: pathlib.Path, settings: TrainingSettings) -> Iterator[Model]:
    """The package as the model server would load it."""
    with open_package(content) as package:
        model = load_model(package, threads=settings.threads)
        try:
            yield model
        finally:
            model.close()


def _golden(content: pathlib.Path, job: _Job, model: Model) -> Any:
    """Some of the held-out images, put into the package with what it says of them, for its self-test."""
    chosen = [
        example
        for anomalous in (False, True)
        for example in [held for held in job.held if held.is_anomalous is anomalous][:_GOLDEN_OF_EACH]
    ]
    sources = [GoldenSource(example.image.stem, read_image(example)) for example in chosen]
    return msgspec.to_builtins(record_golden(model, content, sources))


def _performance(held: Evaluation, seen: Evaluation, threshold: float) -> Dict[str, Any]:
    """Held-out numbers at the chosen threshold and at 0.5, which nothing was chosen for; then those of the training."""
    performance: Dict[str, Any] = {"threshold": threshold}
    for name, judged in (("held_out", held), ("training", seen)):
        found, truth = judged.anomaly_scores, judged.truth
        performance[name] = {
            "images": len(judged.judged),
            **scores.image_metrics(found, truth, threshold),
            "f1_at_half": scores.image_metrics(found, truth, _FIRST_THRESHOLD)["f1"],
            "auroc": scores.auroc(found, truth),
            "mask_iou": judged.pixels.by_class(),
        }
    return performance
