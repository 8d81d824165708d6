"""What is done before and after the network, against the literal arithmetic that the property tests hold it to.

A segmentation model with a mask and a class output. The same frames and the same outputs go through the reference
(`tests/model/reference.py`) and through ours, by turns, one image each; verdicts are compared and masks bit for bit. The
reference resizes with all of OpenCV's threads, ours works in the calling thread alone. Our mask goes into the caller's
array, as it goes into shared memory in the server; both keep freed memory, as the server does.

Then the whole detection of the shipped model at 1080p, with as many threads as cores: its 99th percentile over its
median.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Tuple

import cv2
import numpy as np
import numpy.typing as npt

from benchmarks import machine
from benchmarks.workload import bare_times, package_name, percentile, render_frames, write_packages
from edge_agent import sample
from edge_agent.allocator import keep_freed_memory
from edge_agent.frame import Pixels
from edge_agent.model import Manifest
from edge_agent.model.manifest import parse_manifest
from edge_agent.model.postprocess import Postprocessor
from edge_agent.model.preprocess import Preprocessor
from edge_agent.model.verdict import Verdict

SIZES: Dict[str, Tuple[int, int]] = {
    "vga": (640, 480),
    "720p": (1280, 720),
    "1080p": (1920, 1080),
    "12mp": (4096, 3000),
}
_IMAGES = {"vga": 150, "720p": 150, "1080p": 100, "12mp": 40}
_CALLS = 600
_WARM_UP = 3
_REFERENCE = Path(__file__).parents[1] / "tests" / "model" / "reference.py"

_Outputs = List[npt.NDArray[np.float32]]


def _reference() -> Any:
    specification = importlib.util.spec_from_file_location("reference", _REFERENCE)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def _document(side: Tuple[int, int], frame: Tuple[int, int]) -> Dict[str, Any]:
    """The shipped model's manifest with an input of another size and a mask as large as the frame."""
    path = sample.models_directory() / sample.MODEL_NAME / "manifest.json"
    document: Dict[str, Any] = json.loads(path.read_text())
    document["model_graph"]["stages"][0].update(
        image_width=side[0], image_height=side[1], input_shape=[1, 3, side[1], side[0]], raw_image_shape=[*frame[::-1]]
    )
    return document


def _outputs(manifest: Manifest) -> _Outputs:
    """What a network might say: background with some blobs of the other classes."""
    random = np.random.default_rng(0)
    stage = manifest.stage
    shape = (len(manifest.pixel_class_names), stage.image_height, stage.image_width)
    smooth = [cv2.GaussianBlur(plane, (0, 0), 12) for plane in random.normal(size=shape).astype(np.float32)]
    scores = np.stack(smooth) * 60
    scores[0] += 2
    shares = np.exp(scores)
    mask = (shares / shares.sum(axis=0))[None].astype(np.float32)
    return [mask, np.array([[0.8, 0.2]], dtype=np.float32)]


def _compare(verdict: Verdict, expected: Any) -> None:
    anomalous, confidence, score, found, mask = expected
    assert verdict.mask is not None
    labels = [(label.name, label.area, label.hex_color) for label in verdict.anomalies]
    if (verdict.is_anomalous, labels) != (anomalous, found) or not np.array_equal(verdict.mask, mask):
        raise SystemExit("ours differs from the reference")
    if max(abs(verdict.score - score), abs(verdict.confidence - confidence)) > 1e-6:
        raise SystemExit("our score differs from the reference's")


def _timed(times: List[float], call: Callable[..., Any], *arguments: Any) -> Any:
    started = time.perf_counter()
    result = call(*arguments)
    times.append((time.perf_counter() - started) * 1000)
    return result


def _measure(reference: Any, size: str, side: Tuple[int, int], count: int) -> Dict[str, List[float]]:
    document = _document(side, SIZES[size])
    manifest = parse_manifest(json.dumps(document).encode(), "manifest.json")
    stage = {
        "class_normal_ids": manifest.class_normal_ids,
        "seg_normal_ids": manifest.seg_normal_ids,
        **document["model_graph"]["stages"][0],
    }
    names = list(manifest.pixel_class_names)
    outputs = _outputs(manifest)
    frames = render_frames(SIZES[size])
    preprocessor = Preprocessor(manifest.stage)
    postprocessor = Postprocessor(manifest, (side[1], side[0]))
    assert manifest.mask_size is not None
    out: Pixels = np.empty((*manifest.mask_size, 3), dtype=np.uint8)
    times: Dict[str, List[float]] = {"reference": [], "ours": [], "preprocess": [], "postprocess": []}
    for index in range(count + _WARM_UP):
        pixels = frames[index % len(frames)]
        cv2.setNumThreads(len(os.sched_getaffinity(0)))
        before: List[float] = []
        expected_tensor = _timed(before, reference.preprocess, pixels, stage)
        expected = _timed(before, reference.postprocess, outputs, stage, names)
        times["reference"].append(sum(before))
        cv2.setNumThreads(1)
        tensor = _timed(times["preprocess"], preprocessor.run, pixels)
        verdict = _timed(times["postprocess"], postprocessor.run, outputs, out)
        times["ours"].append(times["preprocess"][-1] + times["postprocess"][-1])
        if not np.array_equal(tensor, expected_tensor):
            raise SystemExit("our tensor differs from the reference's")
        _compare(verdict, expected)
    return {key: values[_WARM_UP:] for key, values in times.items()}


def _detect(threads: int, calls: int) -> List[float]:
    with tempfile.TemporaryDirectory(prefix="edge-agent-") as scratch:
        write_packages(Path(scratch))
        return bare_times(Path(scratch) / package_name("1080p"), render_frames(SIZES["1080p"]), calls, threads)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the images, for a look")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="of the detection")
    parser.add_argument("--input", default="512x384", metavar="WIDTHxHEIGHT", help="of the network, and of its mask")
    options = parser.parse_args()
    width, height = (int(side) for side in options.input.split("x"))
    keep_freed_memory()
    share = 10 if options.quick else 1
    reference = _reference()
    times = {size: _measure(reference, size, (width, height), _IMAGES[size] // share) for size in SIZES}
    detect = _detect(options.threads, _CALLS // share)
    medians = {size: {key: percentile(values, 50) for key, values in times[size].items()} for size in SIZES}
    figures = {
        "glue_ms": {key: {size: round(medians[size][key], 3) for size in SIZES} for key in ("reference", "ours")},
        "glue_ratio": {size: round(medians[size]["reference"] / medians[size]["ours"], 2) for size in SIZES},
        "ours_ms": {
            key: {size: round(medians[size][key], 3) for size in SIZES} for key in ("preprocess", "postprocess")
        },
        "p99_over_p50": round(percentile(detect, 99) / percentile(detect, 50), 3),
        "detect_ms": {f"p{percent}": round(percentile(detect, percent), 3) for percent in (50, 99)},
    }
    settings = {
        "input": options.input,
        "threads": options.threads,
        "quick": options.quick,
        "images": {size: _IMAGES[size] // share for size in SIZES},
        "calls": _CALLS // share,
        "model": sample.MODEL_NAME,
    }
    print(json.dumps({"machine": machine.describe(), "settings": settings, "figures": figures}, indent=1))


if __name__ == "__main__":
    main()
