"""From a network's file to a package: what is written has been loaded and run as the model server will."""

from __future__ import annotations

import contextlib
import copy
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence

import msgspec

from edge_agent.errors import PackageError
from edge_agent.model import Model, Verdict, load_model, open_package, self_test
from edge_agent.model.anomalib_stage import ANOMALIB, PRED_LABEL
from edge_agent.model.document import Size
from edge_agent.model.draft import draft, refuse_existing, write_manifest
from edge_agent.model.engine import Network
from edge_agent.model.golden import Golden
from edge_agent.model.manifest import ONNX, OPENVINO
from edge_agent.model.network_file import companions
from edge_agent.model.selftest import GoldenSource, record_golden
from edge_agent.packaging.golden_images import probe_images, read_golden_images
from edge_agent.packaging.model_manifest import build_manifest, has_own_label
from edge_agent.packaging.model_settings import PackageSettings


@dataclass(frozen=True)
class PackageResult:
    """What came out: where the package lies, its manifest as a document, and what it says of its golden images."""

    path: Path
    manifest: Dict[str, Any]
    golden: Golden


def make_package(settings: PackageSettings) -> PackageResult:
    """Make a package of a network's file, and have it pass its own self-test before it is put in its place.

    Raises:
        PackageError: settings, files or images that cannot be packaged, or a place that cannot be written.
        EngineError: the network does not load or run, or is none that the model server can use.
        SelfTestError: it gives two answers to one image.
        MissingExtraError: the runtime that reads the file is not installed.
    """
    settings.check()
    refuse_existing(settings.target, force=settings.force)
    _refuse_shadow(settings)
    runtime = _runtime_of(settings.file)
    sources = read_golden_images(settings.golden) if settings.golden else []
    files = _files_of(settings.file)
    network = _read_network(settings.file, runtime)
    document = build_manifest(network, runtime, settings, _common_size(sources))
    stage = document["model_graph"]["stages"][0]["type"]
    images = [*sources, *probe_images()]
    with draft(settings.target, stage, force=settings.force) as content:
        for file in files:
            place = content / stage / file.relative_to(settings.file.parent)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, place)
        with _loaded(content, document, settings) as model:
            verdicts = [model.detect(image.pixels) for image in images]
            golden = record_golden(model, content, sources) if sources else Golden()
        if stage == ANOMALIB:
            _check_scores(verdicts, settings)
            if settings.threshold is None and has_own_label(network, document):
                _compare_with_label(content, document, images, verdicts, settings)
        if golden.images:
            document["package"]["golden"] = msgspec.to_builtins(golden)
        _try(content, document, settings)
    return PackageResult(settings.target, document, golden)


def _runtime_of(file: Path) -> str:
    runtime = {".onnx": ONNX, ".xml": OPENVINO}.get(file.suffix)
    if runtime is None:
        raise PackageError(str(file), "is neither *.onnx nor *.xml of OpenVINO")
    if not file.is_file():
        raise PackageError(str(file), "is no file")
    return runtime


def _refuse_shadow(settings: PackageSettings) -> None:
    """A directory goes before a zip of the same name, so that the two would hide one another."""
    other = settings.out / (settings.name if settings.zipped else f"{settings.name}.zip")
    if other.exists():
        raise PackageError(str(other), "is a package of the same name in its other form", "Remove it first.")


def _files_of(file: Path) -> List[Path]:
    """The file and those beside it that hold its weights."""
    root = file.parent.resolve()
    files = [file]
    for companion in companions(file):
        try:
            place = (file.parent / companion).resolve()
        except (OSError, ValueError) as error:
            raise PackageError(str(file), f"names a file that cannot be followed ({error})") from error
        if root not in place.parents:
            raise PackageError(str(file), f"has weights in {companion!r}, which is not beside it")
        if not place.is_file():
            raise PackageError(
                str(file.parent / companion),
                f"is not there, but holds weights of {file.name}",
                "The files travel together: copy it, too.",
            )
        files.append(file.parent / companion)
    return files


def _read_network(file: Path, runtime: str) -> Network:
    if runtime == OPENVINO:
        from edge_agent.model import engine_openvino

        return engine_openvino.read_network(file, str(file))
    from edge_agent.model import engine_onnx

    return engine_onnx.read_network(file, str(file))


def _common_size(sources: Sequence[GoldenSource]) -> Optional[Size]:
    sizes = {(source.pixels.shape[1], source.pixels.shape[0]) for source in sources}
    return sizes.pop() if len(sizes) == 1 else None


@contextlib.contextmanager
def _loaded(content: Path, document: Dict[str, Any], settings: PackageSettings) -> Iterator[Model]:
    """The package with this manifest, as the model server will have it."""
    write_manifest(content, document)
    with open_package(content) as package:
        model = load_model(package, threads=settings.threads)
    try:
        yield model
    finally:
        model.close()


def _check_scores(verdicts: Sequence[Verdict], settings: PackageSettings) -> None:
    odd = [verdict.score for verdict in verdicts if not 0 <= verdict.score <= 1]
    if odd and not settings.raw_scores:
        raise PackageError(
            str(settings.file),
            f"gives the score {odd[0]:g}, so its scores are not scaled to 0..1",
            "Say so with --raw-scores and --threshold.",
        )


def _compare_with_label(
    content: Path,
    document: Dict[str, Any],
    images: Sequence[GoldenSource],
    verdicts: Sequence[Verdict],
    settings: PackageSettings,
) -> None:
    """Raise PackageError where an export decides by another threshold inside than the manifest's.

    Nobody can see that one from outside, only what it decides. A threshold that the user gives is what counts.
    """
    from edge_agent.model.postprocess import DECIMALS

    asked = copy.deepcopy(document)
    asked["model_graph"]["stages"][0][ANOMALIB]["score_from"] = PRED_LABEL
    with _loaded(content, asked, settings) as model:
        labels = [model.detect(image.pixels).is_anomalous for image in images]
    for image, verdict, label in zip(images, verdicts, labels):
        # At the threshold itself anomalib says normal, the contract anomalous.
        at_threshold = round(verdict.score, DECIMALS) == round(verdict.threshold, DECIMALS)
        if verdict.is_anomalous is not label and not at_threshold:
            raise PackageError(
                str(settings.file),
                f"calls {image.name} {'anomalous' if label else 'normal'} at the score {verdict.score:g}, "
                f"so it decides by another threshold than {verdict.threshold:g}",
                "Give that one with --threshold.",
            )


def _try(content: Path, document: Dict[str, Any], settings: PackageSettings) -> None:
    """What the model server will do with it."""
    with _loaded(content, document, settings) as model, open_package(content) as package:
        model.warm_up()
        self_test(model, package)
