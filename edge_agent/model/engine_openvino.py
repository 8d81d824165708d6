"""OpenVINO on the CPU as an engine."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np

from edge_agent.errors import EngineError, MissingExtraError
from edge_agent.frame import CHANNELS
from edge_agent.model.engine import Network, Port, Result, Tensor, check_input, check_outputs, choose_outputs
from edge_agent.model.manifest import Manifest

# openvino's Python package reports its own import, among other things, to an analytics service, unless the package
# openvino_telemetry is missing: then it uses a stand-in of its own that does nothing. None makes it missing.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]

try:
    import openvino
except ImportError as error:
    raise MissingExtraError("openvino", "openvino") from error

# The head of the XML names the version of the format.
_HEAD_BYTES = 4096
_NET = re.compile(rb'<net\b[^>]*?\bversion="(\d{1,4})"')


class OpenVinoEngine:
    """One compiled model with one request.

    Numbers are computed in float32 everywhere: left alone, OpenVINO takes 16 bits where a processor has them (most ARM
    ones do), and one package would answer differently on two devices. Threads are not tied to cores, which capture
    and the other models need, too.

    Args:
        artifact: the `.xml` file; its weights are the `.bin` file beside it.
        manifest: of its package.
        threads: for one inference.

    Raises:
        EngineError: the file does not load or run, or its inputs or outputs do not fit the manifest.
    """

    def __init__(self, artifact: Path, manifest: Manifest, *, threads: int) -> None:
        self._subject = f"{artifact.parent.name}/{artifact.name}"
        model = _read(artifact, self._subject)
        check_input(self._subject, manifest, _ports(model.inputs))
        self._places = choose_outputs(self._subject, manifest, _ports(model.outputs))
        shape = (1, CHANNELS, manifest.stage.image_height, manifest.stage.image_width)
        try:
            # What the graph leaves open is known now, and a graph of fixed sizes runs faster.
            model.reshape(list(shape))
            compiled = openvino.Core().compile_model(model, "CPU", _settings(threads))
            self._request: Any = compiled.create_infer_request()
        except Exception as error:  # OpenVINO's errors share no base but Exception
            raise EngineError(self._subject, f"does not load ({_words(error)})") from error
        outputs = self._call(np.zeros(shape, dtype=np.float32))
        self._shapes = tuple(tuple(output.shape) for output in outputs)
        # Once more with real sizes: an open size fits anything until the model has run.
        check_outputs(self._subject, manifest, self._shapes)

    @property
    def output_shapes(self) -> Tuple[Tuple[int, ...], ...]:
        return self._shapes

    @property
    def backend(self) -> str:
        return f"OpenVINO {openvino.get_version().split('-')[0]}, cpu"

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
        self._request = None

    def _call(self, tensor: Tensor) -> List[Result]:
        try:
            self._request.set_input_tensor(0, openvino.Tensor(tensor, shared_memory=True))
            self._request.infer()
            return [self._request.get_output_tensor(place).data for place in self._places]
        except Exception as error:  # as in __init__
            raise EngineError(self._subject, f"does not run ({_words(error)})") from error


def read_network(artifact: Path, subject: str) -> Network:
    """What the file says of its inputs and outputs.

    Raises:
        EngineError: it cannot be read.
    """
    model = _read(artifact, subject)
    return Network(_ports(model.inputs), _ports(model.outputs))


def _read(artifact: Path, subject: str) -> Any:
    with artifact.open("rb") as file:
        match = _NET.search(file.read(_HEAD_BYTES))
    if match is None:  # OpenVINO itself would go on to try each other format it knows, and be loud about it
        raise EngineError(subject, "does not load (it is no OpenVINO IR)")
    try:
        return openvino.Core().read_model(str(artifact), str(artifact.with_suffix(".bin")))
    except Exception as error:  # as in OpenVinoEngine
        raise EngineError(
            subject,
            f"does not load ({_words(error)})",
            f"It is an IR of version {match.group(1).decode()}; here is OpenVINO {openvino.get_version().split('-')[0]}.",
        ) from error


def _settings(threads: int) -> Dict[str, Any]:
    return {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": threads,
        "ENABLE_CPU_PINNING": False,
        "INFERENCE_PRECISION_HINT": "f32",
    }


def _ports(entries: Sequence[Any]) -> List[Port]:
    return [
        Port(
            names=tuple(sorted(entry.names)),
            kind=entry.element_type.to_dtype().name,
            shape=[side.get_length() if side.is_static else None for side in entry.partial_shape],
        )
        for entry in entries
    ]


def _words(error: Exception) -> str:
    """What OpenVINO says, without the places in its sources that it says first."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
