"""SageMaker Neo's compiled models as an engine, run by Neo's own runtime: the `libdlr.so` of their package.

For what our own loader does not run: models for a GPU, with TensorRT, or for Neo's virtual machine (`*.ro`).
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Dict, Iterator

from edge_agent.errors import EngineError
from edge_agent.model.digest import digest_of
from edge_agent.model.manifest import Manifest
from edge_agent.model.neo.artifacts import CPU, find_runtime, subject_of
from edge_agent.model.neo.engine import RUN_TIMEOUT_S, ChildEngine, input_shape
from edge_agent.model.neo.protocol import RuntimeJob

#: Seconds in which a model must have loaded; then its process is ended. TensorRT builds its engines in that time.
LOAD_TIMEOUT_S = 120.0
GPU_LOAD_TIMEOUT_S = 900.0

#: The families of sockets that drivers speak to their own daemons and to the kernel with; a CPU needs none.
_DRIVER_SOCKETS = (int(socket.AF_UNIX), int(socket.AF_NETLINK))

_TENSORRT_CACHE = "TVM_TENSORRT_CACHE_DIR"
_SPIN_COUNT = "TVM_THREAD_POOL_SPIN_COUNT"


class DlrEngine(ChildEngine):
    """A compiled model, with the libdlr.so that lies beside it.

    Args:
        directory: of the stage; it is not needed any more afterwards.
        manifest: of its package.
        threads: for one inference.
        why: it needs that runtime, for the message when it is not there.
        run_timeout: seconds after which an inference counts as hung.

    Raises:
        PackageError: files torn.
        EngineError: the runtime is missing, for another machine or for other drivers; what it says of the model; or the
            model crashed while loading, or does not fit its manifest.
    """

    def __init__(
        self,
        directory: Path,
        manifest: Manifest,
        *,
        threads: int,
        why: str,
        run_timeout: float = RUN_TIMEOUT_S,
    ) -> None:
        subject = subject_of(directory)
        runtime = find_runtime(directory, subject, why)
        on_cpu = runtime.device == CPU
        job = RuntimeJob(
            subject,
            input_shape(manifest),
            directory=str(directory),
            runtime=str(runtime.library),
            device=runtime.device,
            sockets=() if on_cpu else _DRIVER_SOCKETS,
        )
        super().__init__(
            job,
            manifest,
            backend=f"SageMaker Neo's libdlr.so, {runtime.device_name}",
            environment=_environment(directory, subject, threads),
            load_timeout=LOAD_TIMEOUT_S if on_cpu else GPU_LOAD_TIMEOUT_S,
            run_timeout=run_timeout,
        )


def _environment(directory: Path, subject: str, threads: int) -> Dict[str, str]:
    """What the runtime learns by its environment alone: its threads, that it binds none to a core, and its cache."""
    environment = {
        "TVM_NUM_THREADS": str(threads),
        "OMP_NUM_THREADS": str(threads),
        "TVM_BIND_THREADS": "0",
        # Else its threads wait for the next image at full speed, some 20 ms long, on cores that others need.
        _SPIN_COUNT: os.environ.get(_SPIN_COUNT, "0"),
    }
    cache = os.environ.get(_TENSORRT_CACHE)
    if cache:
        # The runtime names what it keeps there by the subgraph alone ("tensorrt_0"), so two models must not share it.
        own = Path(cache).resolve() / digest_of(_files(directory), subject)
        try:
            own.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise EngineError(
                subject, f"cannot keep its TensorRT engines in {own} ({error.strerror})", f"Set {_TENSORRT_CACHE} anew."
            ) from error
        environment[_TENSORRT_CACHE] = str(own)
    return environment


def _files(directory: Path) -> Iterator[Path]:
    yield from sorted(path for path in directory.iterdir() if path.is_file())
