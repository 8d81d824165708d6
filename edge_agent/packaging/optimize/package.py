"""The network of a package made ready for its target, and held against the one that it was made from."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Any, Dict, Iterator, List, Tuple

import msgspec
import numpy as np

from edge_agent.errors import EngineError, PackageError, SelfTestError
from edge_agent.frame import CHANNELS, Pixels
from edge_agent.model import Model, ModelPackage, load_model, open_package
from edge_agent.model.anomalib_stage import ANOMALIB
from edge_agent.model.draft import write_manifest
from edge_agent.model.engine import Tensor, expected_heads
from edge_agent.model.golden import Golden, GoldenImage
from edge_agent.model.network_file import companions
from edge_agent.model.preprocess import Preprocessor
from edge_agent.model.selftest import difference, expectation, read_golden
from edge_agent.packaging.golden_images import probe_images, read_image
from edge_agent.packaging.optimize import graph
from edge_agent.packaging.optimize.precision import to_fp16, to_int8
from edge_agent.packaging.optimize.wanted import FP16, FP32, INT8, Wanted

#: How far a network may be from the one that it was made from. Coarser ones state it in their manifests, too.
_ALLOWED = {
    FP32: Golden(tolerance=0.001, area_tolerance=0.001),
    FP16: Golden(tolerance=0.02, area_tolerance=0.005),
    INT8: Golden(tolerance=0.05, area_tolerance=0.02),
}

_Seen = List[Tuple[Pixels, GoldenImage]]


def optimize(content: Path, wanted: Wanted) -> str:
    """Optimise the ONNX network of a package directory in place; gives what was done, in one clause.

    Args:
        content: of the package; its manifest and its network are written anew.
        wanted: how it is to be.

    Raises:
        PackageError: what is asked for cannot be had of this package.
        EngineError: the network does not load, or cannot be converted.
        SelfTestError: the result does not agree with the network that it was made from.
    """
    with open_package(content) as package:
        if package.manifest.stage.takes_pixels:
            if wanted.precision == FP32:
                return ""
            raise PackageError(package.name, "was optimised before", "Make it of the package that was trained.")
        _check(package, wanted)
        artifact = package.artifact()
        files = [artifact, *(artifact.parent / name for name in companions(artifact))]
        if sum(file.stat().st_size for file in files) > graph.MAX_BYTES:
            return _too_large(package, wanted)
        seen = _look(package, wanted)
        model, clause = _convert(package, artifact, wanted, seen)
        for file in files:
            file.unlink()
        graph.write_graph(model, artifact)
        document = msgspec.json.decode(package.manifest_bytes)
    _describe(document, artifact.name, wanted)
    write_manifest(content, document)
    _compare(content, wanted, seen)
    return clause


def _check(package: ModelPackage, wanted: Wanted) -> None:
    if wanted.precision == FP16 and not wanted.gpu:
        raise PackageError(
            package.name,
            "is to compute in 16 bits on a processor, which does that slower than in 32",
            "FP16 is for targets with an NVIDIA accelerator; ask for fp32 or int8.",
        )
    if wanted.precision != FP32 and not package.manifest.package.golden.images:
        raise PackageError(
            package.name,
            f"has no golden images, which an {wanted.precision} network must agree with",
            "Put some into golden/ beside the model, or ask for fp32.",
        )


def _too_large(package: ModelPackage, wanted: Wanted) -> str:
    if wanted.precision != FP32:
        raise PackageError(package.name, f"is too large to be made {wanted.precision}: over {graph.MAX_BYTES} bytes")
    return "left as it is, for its size"


def _look(package: ModelPackage, wanted: Wanted) -> _Seen:
    """The images that decide, and what the network says of them as it is. Noise is for float32 alone to agree on."""
    model = load_model(package, threads=wanted.threads)
    try:
        images = [(image.file, read_golden(package, image)) for image in package.manifest.package.golden.images]
        if wanted.precision == FP32:
            images += [(probe.name, probe.pixels) for probe in probe_images()]
        return [(pixels, expectation(model, pixels, name)) for name, pixels in images]
    finally:
        model.close()


def _convert(package: ModelPackage, artifact: Path, wanted: Wanted, seen: _Seen) -> Tuple[Any, str]:
    stage, subject = package.manifest.stage, f"{package.name}/{artifact.name}"
    model = graph.read_graph(artifact, subject)
    graph.settle_input(model, stage.network_input[0])
    if stage.type == ANOMALIB:
        graph.keep_outputs(model, [head.name for head in expected_heads(package.manifest)])
    done = ["pixels in"]
    if graph.bare_mask(model, stage):
        done.append("no softmax of the mask")
    model = graph.simplify(model, subject)
    if wanted.precision == INT8:
        model = to_int8(model, _tensors(package, wanted, seen), subject, gpu=wanted.gpu)
    elif wanted.precision == FP16:
        model = to_fp16(model, subject)
    graph.fold_pixels(model, stage)
    return model, f"{wanted.precision}, {', '.join(done)}"


def _tensors(package: ModelPackage, wanted: Wanted, seen: _Seen) -> Iterator[Tensor]:
    preprocessor = Preprocessor(package.manifest.stage)
    for pixels in chain((pixels for pixels, _ in seen), (read_image(file).pixels for file in wanted.images)):
        yield np.array(preprocessor.run(pixels))


def _describe(document: Dict[str, Any], artifact: str, wanted: Wanted) -> None:
    """Write into the manifest what the network is now."""
    stage = document["model_graph"]["stages"][0]
    stage["takes_pixels"] = True
    if "input_shape" in stage:
        stage["input_shape"] = [1, stage["image_height"], stage["image_width"], CHANNELS]
    document["runtime_artifact"] = artifact
    about = document.setdefault("package", {})
    about["precision"] = wanted.precision
    about.pop("files", None)  # of the package as it was
    golden = about.get("golden")
    if golden and wanted.precision != FP32:
        allowed, stated = _ALLOWED[wanted.precision], msgspec.convert(golden, Golden)
        golden["tolerance"] = max(allowed.tolerance, stated.tolerance)
        golden["area_tolerance"] = max(allowed.area_tolerance, stated.area_tolerance)


def _compare(content: Path, wanted: Wanted, seen: _Seen) -> None:
    with open_package(content) as package:
        model: Model = load_model(package, threads=wanted.threads)
    try:
        for pixels, expected in seen:
            try:
                reason = difference(_ALLOWED[wanted.precision], expected, model.detect(pixels))
            except EngineError as error:
                reason = f"no answer ({error})"
            if reason:
                raise SelfTestError(
                    f"{package.name}: {expected.file}",
                    f"the {wanted.precision} network does not agree with the one that it was made from: {reason}",
                    "Ask for another precision, or with --optimize none for the network as it is."
                    if wanted.precision != FP32
                    else "Ask for the network as it is with --optimize none.",
                )
    finally:
        model.close()
