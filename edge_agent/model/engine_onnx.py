"""ONNX Runtime on the CPU as an engine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, List, Optional, Sequence, Tuple

import numpy as np

from edge_agent.errors import EngineError, MissingExtraError
from edge_agent.frame import CHANNELS
from edge_agent.model.engine import Network, Port, Result, Tensor, check_input, check_outputs, choose_outputs
from edge_agent.model.manifest import Manifest
from edge_agent.model.network_file import read_outline

# Since 1.29 the official Linux builds of ONNX Runtime report to their maker unless this is set before they are loaded
# (any value; seen: a database and a device id below HOME). Nothing leaves a factory line that was not asked for.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

try:
    import onnxruntime
except ImportError as error:
    raise MissingExtraError("onnxruntime", "server") from error

# What ONNX Runtime calls numbers whose numpy name differs.
_KINDS = {"float": "float32", "double": "float64"}
_ERRORS_ONLY = 3  # log severity: warnings about a graph's style are no news on a factory line


class OnnxEngine:
    """One session with one input and one output buffer per head.

    Threads do not spin between calls: a spinning pool takes the cores from capture, from OpenCV and from the other
    models. With two threads on two busy cores, spinning made inference up to twice as slow, and the resize before it.

    Args:
        artifact: the ONNX file.
        manifest: of its package.
        threads: for one inference.

    Raises:
        EngineError: the file does not load or run, or its inputs or outputs do not fit the manifest.
    """

    def __init__(self, artifact: Path, manifest: Manifest, *, threads: int) -> None:
        self._subject = f"{artifact.parent.name}/{artifact.name}"
        self._session: Any = _open(artifact, self._subject, threads)
        self._input_name = check_input(self._subject, manifest, _ports(self._session.get_inputs())).names[0]
        outputs = _ports(self._session.get_outputs())
        places = choose_outputs(self._subject, manifest, outputs)
        self._output_names = [outputs[place].names[0] for place in places]
        stage = manifest.stage
        results = self._call(np.zeros((1, CHANNELS, stage.image_height, stage.image_width), dtype=np.float32))
        self._shapes = tuple(tuple(result.shape) for result in results)
        # Once more with real sizes: a symbolic size fits anything until the model has run.
        check_outputs(self._subject, manifest, self._shapes)

    @property
    def output_shapes(self) -> Tuple[Tuple[int, ...], ...]:
        return self._shapes

    def run(self, tensor: Tensor) -> List[Result]:
        outputs = self._call(tensor)
        shapes = tuple(tuple(output.shape) for output in outputs)
        if shapes != self._shapes:
            raise EngineError(self._subject, f"changed its output shapes from {self._shapes} to {shapes}")
        return outputs

    @property
    def failure(self) -> Optional[str]:
        return None

    def close(self) -> None:
        self._session = None

    def _call(self, tensor: Tensor) -> List[Result]:
        try:
            outputs: List[Result] = self._session.run(self._output_names, {self._input_name: tensor})
        except Exception as error:  # as in _open
            raise EngineError(self._subject, f"does not run ({_first_line(error)})") from error
        return outputs


def read_network(artifact: Path, subject: str) -> Network:
    """What the file says of its inputs and outputs.

    Raises:
        EngineError: it does not load.
    """
    session = _open(artifact, subject, threads=1)
    return Network(_ports(session.get_inputs()), _ports(session.get_outputs()))


def _open(artifact: Path, subject: str, threads: int) -> Any:
    outline = read_outline(artifact)
    if outline is None:
        raise EngineError(subject, "does not load (it is no ONNX file, or a torn one)")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(str(artifact), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors share no base but Exception
        raise EngineError(
            subject,
            f"does not load ({_first_line(error)})",
            f"It is of IR version {outline.ir_version} and opset {outline.opset}; "
            f"here is ONNX Runtime {onnxruntime.__version__}.",
        ) from error


def _ports(entries: Sequence[Any]) -> List[Port]:
    kinds = [entry.type[len("tensor(") : -1] for entry in entries]
    return [Port((entry.name,), _KINDS.get(kind, kind), entry.shape) for entry, kind in zip(entries, kinds)]


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
