"""How long a packaging job takes for a network of 35 MB, and how long a frame takes in what comes out of it.

The network has the residual blocks of a ResNet-18 up to its last stage, with random weights, a mask and a class output.
`edge-agent package` and `edge-agent packaging start` are timed as processes, from nothing to the artifact that has been
loaded and has passed its self-test.

Then the frames of rendered parts go by turns, one image each, through the packaged models and through the same ONNX file
with pre-processing as numpy has it (`tests/model/reference.py`: OpenCV's resize with all its threads, then numpy). Both
sides get the same threads in ONNX Runtime and our post-processing, so that the difference is pre-processing and graph.
Threads of ONNX Runtime that wait use a processor in the plain session, so processor times mean something with one thread.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Tuple

import cv2
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from benchmarks import machine
from benchmarks.workload import SIZES, percentile, render_frames
from edge_agent.allocator import keep_freed_memory
from edge_agent.frame import Pixels
from edge_agent.model import Manifest, Model, load_model, open_package, read_manifest
from edge_agent.model.postprocess import Postprocessor

_REFERENCE = Path(__file__).parents[1] / "tests" / "model" / "reference.py"
_FRAMES = {"vga": 200, "1080p": 200, "12mp": 60}
_WARM_UP = 8
_CHOICES = ("none", "fp32", "int8")
_CLASSES = ("background", "scratch", "dent")
_LEAD = (10, 0, 0)  # background's: random weights alone would leave each pixel at the edge of two classes
_PROJECT = "bench"

# Channels and blocks of each stage; each but the first halves the sides. Together some 35 MB of float32.
_STAGES = ((64, 2), (128, 2), (256, 2), (680, 1))
_STEM = 64


class _Graph:
    """Grows a network, operator by operator."""

    def __init__(self) -> None:
        self._random = np.random.default_rng(0)
        self.nodes: List[Any] = []
        self.weights: List[Any] = []

    def add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def convolve(self, source: str, shape: Tuple[int, int, int], stride: int = 1) -> str:
        """Args: shape: (channels out, channels in, side of the kernel)."""
        out, channels, side = shape
        values = self._random.normal(0, np.sqrt(1 / (channels * side * side)), (out, channels, side, side))
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(values.astype(np.float32), name))
        return self.add("Conv", source, name, strides=[stride, stride], pads=[side // 2] * 4)

    def block(self, source: str, channels: int, before: int, stride: int) -> str:
        inner = self.add("Relu", self.convolve(source, (channels, before, 3), stride))
        outer = self.convolve(inner, (channels, channels, 3))
        beside = source if channels == before else self.convolve(source, (channels, before, 1), stride)
        return self.add("Relu", self.add("Add", outer, beside))


def write_network(file: Path, size: Tuple[int, int]) -> None:
    """Args: size: (width, height) of the input."""
    width, height = size
    graph = _Graph()
    end = graph.add("Relu", graph.convolve("image", (_STEM, 3, 7), 2))
    end = graph.add("MaxPool", end, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    before = _STEM
    for number, (channels, blocks) in enumerate(_STAGES):
        for block in range(blocks):
            end = graph.block(end, channels, before, 2 if number and not block else 1)
            before = channels
    graph.weights.append(numpy_helper.from_array(np.array(_LEAD, np.float32).reshape(1, -1, 1, 1), "lead"))
    logits = graph.add("Add", graph.convolve(end, (len(_CLASSES), before, 1)), "lead")
    mask = graph.add("Softmax", logits, axis=1)
    pooled = graph.add("Flatten", graph.add("GlobalAveragePool", graph.convolve(end, (2, before, 1))))
    outputs = [(mask, [1, len(_CLASSES), None, None]), (graph.add("Softmax", pooled, axis=1), [1, 2])]
    form = helper.make_graph(
        graph.nodes,
        "bench",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, height, width])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs],
        graph.weights,
    )
    onnx.save(helper.make_model(form, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(file))


class _Spent(NamedTuple):
    """Time that passed, and time of processors, which others that are busy leave as it is."""

    wall: float
    cpu: float


def _command(*arguments: str) -> _Spent:
    """Runs an `edge-agent` command."""
    before, began = _children_seconds(), time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "edge_agent", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return _Spent(round(time.perf_counter() - began, 2), round(_children_seconds() - before, 2))


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _package(scratch: Path, size: Tuple[int, int], threads: int) -> _Spent:
    """A package in the registry SCRATCH/registry; gives what `edge-agent package` took."""
    golden = scratch / "golden"
    golden.mkdir()
    for name, pixels in zip(("good", "bad"), render_frames(SIZES["1080p"])):
        Image.fromarray(pixels).save(golden / f"{name}.png")
    write_network(scratch / "network.onnx", size)
    classes = [argument for name in _CLASSES[1:] for argument in ("--class", name)]
    options = ["--name", "model", "--heads", "both", *classes, "--golden", str(golden), "--threads", str(threads)]
    place = scratch / "registry" / _PROJECT / "1"
    return _command("package", str(scratch / "network.onnx"), "--out", str(place), *options)


def _job(scratch: Path, optimize: str) -> Tuple[_Spent, Path]:
    """What a packaging job took, and its artifact."""
    name = f"com.example.{optimize}"
    arch = {"x86_64": "X86_64", "aarch64": "ARM64"}[os.uname().machine]
    configuration = {
        "Greengrass": {
            "TargetPlatform": {"Os": "LINUX", "Arch": arch},
            "S3OutputLocation": {"Bucket": "bench"},
            "ComponentName": name,
        }
    }
    spent = _command(
        *("packaging", "start", "--project-name", _PROJECT, "--model-version", "1", "--optimize", optimize),
        *("--state", str(scratch / "state"), "--registry", str(scratch / "registry")),
        *("--buckets", (scratch / "buckets").as_uri(), "--configuration", json.dumps(configuration)),
    )
    (artifact,) = (scratch / "buckets" / "bench" / "artifacts" / name / "1.0.0").iterdir()
    return spent, artifact


class _Plain:
    """The ONNX file with the reference's pre-processing."""

    def __init__(self, file: Path, manifest: Manifest, document: Dict[str, Any], threads: int) -> None:
        specification = importlib.util.spec_from_file_location("reference", _REFERENCE)
        assert specification is not None
        assert specification.loader is not None
        reference: Any = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(reference)
        self._preprocess: Callable[[Pixels, Dict[str, Any]], Any] = reference.preprocess
        self._stage = document["model_graph"]["stages"][0]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._session: Any = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        probe = np.zeros((1, 3, manifest.stage.image_height, manifest.stage.image_width), np.float32)
        mask = self._session.run(None, {"image": probe})[0]
        self._postprocessor = Postprocessor(manifest, mask.shape[2:])

    def detect(self, pixels: Pixels, mask: Pixels) -> Any:
        cv2.setNumThreads(len(os.sched_getaffinity(0)))
        tensor = self._preprocess(pixels, self._stage)
        cv2.setNumThreads(1)
        return self._postprocessor.run(self._session.run(None, {"image": tensor}), mask)


def _load(artifact: Path, threads: int) -> Model:
    with open_package(artifact) as package:
        return load_model(package, threads=threads)


def _by_turns(ways: Dict[str, Any], frames: List[Pixels], mask: Pixels, count: int) -> Dict[str, _Spent]:
    """Median milliseconds a frame."""
    walls: Dict[str, List[float]] = {name: [] for name in ways}
    cpus: Dict[str, List[float]] = {name: [] for name in ways}
    for index in range(count + _WARM_UP):
        scores = {}
        for name, way in ways.items():
            began, used = time.perf_counter(), time.process_time()
            verdict = way.detect(frames[index % len(frames)], mask)
            walls[name].append((time.perf_counter() - began) * 1000)
            cpus[name].append((time.process_time() - used) * 1000)
            scores[name] = verdict.score
        if abs(scores["fp32"] - scores["numpy"]) > 1e-3:
            raise SystemExit("the packaged model answers otherwise than the ONNX file")
    return {
        name: _Spent(percentile(walls[name][_WARM_UP:], 50), percentile(cpus[name][_WARM_UP:], 50)) for name in ways
    }


def _measure(scratch: Path, size: Tuple[int, int], threads: int, share: int) -> Dict[str, Any]:
    package = _package(scratch, size, threads)
    jobs = {choice: _job(scratch, choice) for choice in _CHOICES}
    place = scratch / "registry" / _PROJECT / "1" / "model"
    manifest = read_manifest(place)
    document = json.loads((place / "manifest.json").read_text())
    ways: Dict[str, Any] = {choice: _load(artifact, threads) for choice, (_, artifact) in jobs.items()}
    ways["numpy"] = _Plain(scratch / "network.onnx", manifest, document, threads)
    assert manifest.mask_size is not None
    mask: Pixels = np.empty((*manifest.mask_size, 3), dtype=np.uint8)
    medians = {
        name: _by_turns(ways, render_frames(SIZES[name]), mask, max(count // share, 4))
        for name, count in _FRAMES.items()
    }
    return {
        "network_mb": round((scratch / "network.onnx").stat().st_size / 1e6, 1),
        "package_s": package._asdict(),
        "job_s": {choice: spent._asdict() for choice, (spent, _) in jobs.items()},
        **{f"frame_{kind}_ms": _of(medians, kind) for kind in _Spent._fields},
        **{f"ratio_{kind}": _over_numpy(medians, kind) for kind in _Spent._fields},
    }


_Medians = Dict[str, Dict[str, _Spent]]


def _of(medians: _Medians, kind: str) -> Dict[str, Dict[str, float]]:
    """By way and size."""
    ways = (*_CHOICES, "numpy")
    return {way: {size: round(getattr(medians[size][way], kind), 2) for size in medians} for way in ways}


def _over_numpy(medians: _Medians, kind: str) -> Dict[str, Dict[str, float]]:
    return {
        way: {
            size: round(getattr(spent[way], kind) / getattr(spent["numpy"], kind), 3) for size, spent in medians.items()
        }
        for way in _CHOICES
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the frames, for a look")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="of ONNX Runtime")
    parser.add_argument("--input", default="224x224", metavar="WIDTHxHEIGHT", help="of the network")
    options = parser.parse_args()
    width, height = (int(side) for side in options.input.split("x"))
    keep_freed_memory()
    share = 10 if options.quick else 1
    with tempfile.TemporaryDirectory(prefix="edge-agent-") as scratch:
        figures = _measure(Path(scratch), (width, height), options.threads, share)
    settings = {
        "input": options.input,
        "threads": options.threads,
        "quick": options.quick,
        "frames": {name: max(count // share, 4) for name, count in _FRAMES.items()},
    }
    print(json.dumps({"machine": machine.describe(), "settings": settings, "figures": figures}, indent=1))


if __name__ == "__main__":
    main()
