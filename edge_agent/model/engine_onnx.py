"""ONNX Runtime as an engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any, List, Optional, Sequence, Tuple

import numpy as np

from edge_agent.errors import EngineError
from edge_agent.model.engine import Network, Port, Result, Tensor, check_input, check_outputs, choose_outputs
from edge_agent.model.manifest import Manifest
from edge_agent.model.onnx_session import first_line, look_at, open_session, shared
from edge_agent.model.providers import OnnxOptions

# What ONNX Runtime calls numbers whose numpy name differs.
_KINDS = {"float": "float32", "double": "float64"}


class OnnxEngine:
    """One session with one input and one output buffer per head, which are bound once.

    Threads do not spin between calls: a spinning pool takes the cores from capture, from OpenCV and from the other
    models. With two threads on two busy cores, spinning made inference up to twice as slow, and the resize before it.

    Args:
        artifact: the ONNX file.
        manifest: of its package.
        name: of its package.
        threads: for one inference.
        options: which execution providers are tried.

    Raises:
        EngineError: the file does not load or run, or its inputs or outputs do not fit the manifest.
    """

    def __init__(
        self, artifact: Path, manifest: Manifest, *, name: str, threads: int, options: Optional[OnnxOptions] = None
    ) -> None:
        self._subject = f"{name}/{artifact.parent.name}/{artifact.name}"
        self._manifest = manifest
        self._input_shape, self._input_kind = manifest.stage.network_input
        opened = open_session(self._subject, artifact, options or OnnxOptions(), threads, self._first_run)
        self._session: Any = opened.session
        self._backend = opened.backend
        self._outputs = [np.empty(output.shape, dtype=output.dtype) for output in opened.outputs]
        # Once more with real sizes: a symbolic size fits anything until the model has run.
        check_outputs(self._subject, manifest, self.output_shapes)
        self._input_name, output_names = self._names(self._session)
        self._binding: Any = self._session.io_binding()
        for output_name, output in zip(output_names, self._outputs):
            self._binding.bind_ortvalue_output(output_name, shared(output))
        self._input: Optional[Tensor] = None

    @property
    def output_shapes(self) -> Tuple[Tuple[int, ...], ...]:
        return tuple(output.shape for output in self._outputs)

    @property
    def backend(self) -> str:
        return self._backend

    def run(self, tensor: Tensor) -> List[Result]:
        """As the protocol says. An array that is given again and again is bound once and never copied."""
        if tensor is not self._input:
            self._bind(tensor)
        try:
            self._session.run_with_iobinding(self._binding)
        except Exception as error:  # ONNX Runtime's errors share no base but Exception
            raise EngineError(self._subject, f"does not run ({first_line(error)})") from error
        return self._outputs

    @property
    def failure(self) -> Optional[str]:
        return None

    def close(self) -> None:
        self._session = self._binding = self._input = None

    def _bind(self, tensor: Tensor) -> None:
        # ONNX Runtime gets an address: what does not lie there as promised would be read beyond its end.
        if tensor.shape != self._input_shape or tensor.dtype != self._input_kind or not tensor.flags.c_contiguous:
            raise ValueError(f"{tensor.dtype} {tensor.shape} is no contiguous {self._input_kind} {self._input_shape}")
        self._binding.bind_ortvalue_input(self._input_name, shared(tensor))
        self._input = tensor

    def _first_run(self, session: Any) -> List[Result]:
        input_name, output_names = self._names(session)
        outputs: List[Result] = session.run(
            output_names, {input_name: np.zeros(self._input_shape, dtype=self._input_kind)}
        )
        return outputs

    def _names(self, session: Any) -> Tuple[str, List[str]]:
        """Of the input, and of the outputs that the manifest calls for."""
        entry = check_input(self._subject, self._manifest, _ports(session.get_inputs()))
        outputs = _ports(session.get_outputs())
        places = choose_outputs(self._subject, self._manifest, outputs)
        return entry.names[0], [outputs[place].names[0] for place in places]


def read_network(artifact: Path, subject: str) -> Network:
    """What the file says of its inputs and outputs.

    Raises:
        EngineError: it does not load.
    """
    session = look_at(subject, artifact)
    return Network(_ports(session.get_inputs()), _ports(session.get_outputs()))


def _ports(entries: Sequence[Any]) -> List[Port]:
    kinds = [entry.type[len("tensor(") : -1] for entry in entries]
    return [Port((entry.name,), _KINDS.get(kind, kind), entry.shape) for entry, kind in zip(entries, kinds)]
