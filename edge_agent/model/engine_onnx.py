"""ONNX Runtime on the CPU as an engine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, List, Optional, Tuple

import numpy as np

from edge_agent.errors import EngineError, MissingExtraError
from edge_agent.frame import CHANNELS
from edge_agent.model.engine import Tensor, check_outputs, describe
from edge_agent.model.manifest import Manifest

# Since 1.29 the official Linux builds of ONNX Runtime report to their maker unless this is set before they are loaded
# (any value; seen: a database and a device id below HOME). Nothing leaves a factory line that was not asked for.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

try:
    import onnxruntime
except ImportError as error:
    raise MissingExtraError("onnxruntime", "server") from error

_FLOAT = "tensor(float)"
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
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _ERRORS_ONLY
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            session = onnxruntime.InferenceSession(str(artifact), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's errors share no base but Exception
            raise EngineError(self._subject, f"does not load ({_first_line(error)})") from error
        self._session: Any = session
        self._input_name, self._input_shape = self._check_input(manifest)
        self._check_output_types(manifest)
        self._output_names = [output.name for output in session.get_outputs()]
        outputs = self._call(np.zeros(self._input_shape, dtype=np.float32))
        self._shapes = tuple(tuple(output.shape) for output in outputs)
        # Once more with real sizes: a symbolic size fits anything until the model has run.
        check_outputs(self._subject, manifest, self._shapes)

    @property
    def output_shapes(self) -> Tuple[Tuple[int, ...], ...]:
        return self._shapes

    def run(self, tensor: Tensor) -> List[Tensor]:
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

    def _call(self, tensor: Tensor) -> List[Tensor]:
        try:
            outputs: List[Tensor] = self._session.run(self._output_names, {self._input_name: tensor})
        except Exception as error:  # as in __init__
            raise EngineError(self._subject, f"does not run ({_first_line(error)})") from error
        return outputs

    def _check_input(self, manifest: Manifest) -> Tuple[str, Tuple[int, ...]]:
        stage = manifest.stage
        wanted = (1, CHANNELS, stage.image_height, stage.image_width)
        inputs = self._session.get_inputs()
        found = ", ".join(f"{entry.type} {describe(entry.shape)}" for entry in inputs)
        fits = len(inputs) == 1 and inputs[0].type == _FLOAT and len(inputs[0].shape) == len(wanted)
        if not fits or any(isinstance(f, int) and f != w for f, w in zip(inputs[0].shape, wanted)):
            raise EngineError(
                self._subject,
                f"its input does not fit its manifest: expected {_FLOAT} {describe(wanted)}; found {found}",
            )
        return inputs[0].name, wanted

    def _check_output_types(self, manifest: Manifest) -> None:
        outputs = self._session.get_outputs()
        check_outputs(self._subject, manifest, [output.shape for output in outputs])
        for output in outputs:
            if output.type != _FLOAT:
                raise EngineError(self._subject, f"its output {output.name!r} is {output.type}, not {_FLOAT}")


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
