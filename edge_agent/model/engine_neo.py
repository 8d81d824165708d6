"""SageMaker Neo's compiled models as engines: our own loader where that will do, else Neo's runtime from the package."""

from __future__ import annotations

import logging
from pathlib import Path

from edge_agent.model.engine import Engine
from edge_agent.model.engine_dlr import DlrEngine
from edge_agent.model.manifest import Manifest
from edge_agent.model.neo.artifacts import find_artifacts, subject_of
from edge_agent.model.neo.engine import RUN_TIMEOUT_S, ChildEngine, input_shape
from edge_agent.model.neo.errors import BeyondLoaderError
from edge_agent.model.neo.protocol import GraphJob

#: Seconds in which a model must have loaded; then its process is ended.
LOAD_TIMEOUT_S = 120.0

_log = logging.getLogger(__name__)


class NeoEngine(ChildEngine):
    """A graph for the CPU, with our own loader.

    Args:
        directory: of the stage; it is not needed any more afterwards.
        manifest: of its package.
        threads: for one inference.
        run_timeout: seconds after which an inference counts as hung.

    Raises:
        PackageError: files missing, torn or not one of each kind.
        BeyondLoaderError: it takes Neo's own runtime.
        EngineError: it is no model for this machine's CPU, it crashed while loading, or it does not fit its manifest.
    """

    def __init__(
        self, directory: Path, manifest: Manifest, *, threads: int, run_timeout: float = RUN_TIMEOUT_S
    ) -> None:
        subject = subject_of(directory)
        artifacts = find_artifacts(directory, subject)
        job = GraphJob(
            subject,
            input_shape(manifest),
            library=str(artifacts.library),
            graph=str(artifacts.graph),
            params=str(artifacts.params),
            threads=threads,
        )
        super().__init__(
            job,
            manifest,
            backend="SageMaker Neo's code, cpu",
            environment={},
            load_timeout=LOAD_TIMEOUT_S,
            run_timeout=run_timeout,
        )


def open_compiled(directory: Path, manifest: Manifest, *, threads: int) -> Engine:
    """The engine for a stage that SageMaker Neo compiled.

    Raises:
        PackageError, EngineError: as the engines; or it takes Neo's runtime, which is not there.
    """
    try:
        return NeoEngine(directory, manifest, threads=threads)
    except BeyondLoaderError as error:
        why = error.reason
    _log.info("%s: %s: it runs with the libdlr.so of its package", subject_of(directory), why)
    return DlrEngine(directory, manifest, threads=threads, why=why)
