"""A session of ONNX Runtime on the first execution provider that takes a model."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
from pathlib import Path
from typing import Any, Callable, Iterator, List, NamedTuple, Optional, Sequence

from edge_agent.errors import EngineError, MissingExtraError
from edge_agent.model.engine import Result
from edge_agent.model.network_file import OnnxOutline, read_outline
from edge_agent.model.providers import PROVIDERS, OnnxOptions, providers_to_try, settings_of
from edge_agent.model.tensorrt_cache import engine_directory

# Since 1.29 the official Linux builds of ONNX Runtime report to their maker unless this is set before they are loaded
# (any value; seen: a database and a device id below HOME). Nothing leaves a factory line that was not asked for.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

try:
    import onnxruntime
except ImportError as error:
    raise MissingExtraError("onnxruntime", "server") from error

# Log severities. A session is as quiet as can be: its warnings are about a graph's style, its errors are raised, too.
_ERRORS, _FATAL = 3, 4

_log = logging.getLogger(__name__)


class _Session(onnxruntime.InferenceSession):  # type: ignore[misc] # it has no types
    """One that raises where a provider fails, on loading and on running, instead of printing it and taking another.

    Newer releases have an argument for that; those for Python 3.8 look at this attribute alone.
    """

    _enable_fallback = property(lambda _self: False, lambda _self, _wanted: None)


class OpenSession(NamedTuple):
    session: Any
    backend: str  # for people to read
    outputs: List[Result]  # of the first run


class _UnusableError(Exception):
    """A provider does not take the model; the text says why, and the remedy is for when no other does."""

    def __init__(self, reason: str, remedy: str = "") -> None:
        super().__init__(reason)
        self.remedy = remedy


def open_session(
    subject: str, artifact: Path, options: OnnxOptions, threads: int, first_run: Callable[[Any], List[Result]]
) -> OpenSession:
    """Try one provider after the other. Those that do not take the model are named in one line of the log.

    Args:
        subject: what errors are about.
        artifact: the ONNX file.
        options: which providers are tried.
        threads: for one inference on a processor.
        first_run: runs a session once. An EngineError of it is about the model and ends the search.

    Raises:
        EngineError: no provider takes the model.
    """
    available = onnxruntime.get_available_providers()
    tries, absent = providers_to_try(options.providers, available)
    refusals = [f"{name} is not in this ONNX Runtime" for name in absent]
    if not tries:
        present, _ = providers_to_try((), available)
        raise EngineError(
            subject,
            f"may run on {', '.join(options.providers)} only, and this ONNX Runtime has {', '.join(present)}",
            "Install one that has it, or allow another provider.",
        )
    outline = _outline(subject, artifact)
    for position, provider in enumerate(tries):
        try:
            cache = _cache(subject, artifact, outline, options) if "tensorrt" in tries[position:] else None
            session = _load(artifact, outline, tries[position:], threads, cache)
            outputs = _run(session, provider, first_run)
        except _UnusableError as error:
            if provider == tries[-1]:
                earlier = f"; {'; '.join(refusals)}" if refusals else ""
                raise EngineError(subject, f"{error}{earlier}", error.remedy) from error
            refusals.append(f"it {error}")
            continue
        if refusals:
            _log.warning("%s: runs on %s, because %s", subject, provider, "; ".join(refusals))
        return OpenSession(session, f"ONNX Runtime {onnxruntime.__version__}, {provider}", outputs)
    raise AssertionError("there was a provider to try")


def look_at(subject: str, artifact: Path) -> Any:
    """A session that tells the inputs and outputs of a network.

    Raises:
        EngineError: it does not load.
    """
    try:
        return _load(artifact, _outline(subject, artifact), ["cpu"], 1, None)
    except _UnusableError as error:
        raise EngineError(subject, str(error), error.remedy) from error


def write_simplified(subject: str, artifact: Path, target: Path) -> None:
    """Write what ONNX Runtime makes of a network with the optimisations that keep to the operators of the format.

    Raises:
        EngineError: it does not load.
    """
    settings = onnxruntime.SessionOptions()
    settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    settings.optimized_model_filepath = str(target)
    settings.log_severity_level = _FATAL
    try:
        _Session(str(artifact), settings, providers=[PROVIDERS["cpu"]])
    except Exception as error:  # as in _load
        raise EngineError(subject, f"does not load ({first_line(error)})") from error


def shared(array: Result) -> Any:
    """ONNX Runtime's view of an array: the same memory, which it keeps alive."""
    return onnxruntime.OrtValue.ortvalue_from_numpy(array)


def first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _outline(subject: str, artifact: Path) -> OnnxOutline:
    outline = read_outline(artifact)
    if outline is None:
        raise EngineError(subject, "does not load (it is no ONNX file, or a torn one)")
    return outline


def _cache(subject: str, artifact: Path, outline: OnnxOutline, options: OnnxOptions) -> Optional[Path]:
    if options.tensorrt_cache is None:
        return None
    files = [artifact, *(artifact.parent / place for place in outline.external)]
    return engine_directory(options.tensorrt_cache, files, subject, onnxruntime.__version__)


def _load(
    artifact: Path, outline: OnnxOutline, providers: Sequence[str], threads: int, tensorrt_cache: Optional[Path]
) -> Any:
    """A session on the first of the providers; the later ones get the operators that it lacks."""
    first = providers[0]
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    settings.inter_op_num_threads = 1
    settings.log_severity_level = _FATAL
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    wanted = [
        (PROVIDERS[name], settings_of(name, threads=threads, tensorrt_cache=tensorrt_cache)) for name in providers
    ]
    try:
        with _quiet():
            session = _Session(str(artifact), settings, providers=wanted)
    except Exception as error:  # ONNX Runtime's errors share no base but Exception
        raise _UnusableError(
            f"does not load{_on(first)} ({_library_problem(first) or first_line(error)})",
            f"It is of IR version {outline.ir_version} and opset {outline.opset}; "
            f"here is ONNX Runtime {onnxruntime.__version__}.",
        ) from error
    # A provider whose libraries are missing is left out without an error.
    if session.get_providers()[0] != PROVIDERS[first]:
        raise _UnusableError(f"does not load{_on(first)} ({_library_problem(first) or 'ONNX Runtime leaves it out'})")
    return session


def _run(session: Any, provider: str, first_run: Callable[[Any], List[Result]]) -> List[Result]:
    try:
        return first_run(session)
    except EngineError:
        raise
    except Exception as error:  # as in _load
        raise _UnusableError(f"does not run{_on(provider)} ({first_line(error)})") from error


def _on(provider: str) -> str:
    return "" if provider == "cpu" else f" on {provider}"


def _library_problem(provider: str) -> str:
    """Why the library of a provider does not load; empty where it does, or where there is none."""
    library = Path(onnxruntime.__file__).parent / "capi" / f"libonnxruntime_providers_{provider}.so"
    if not library.exists():
        return ""
    try:
        ctypes.CDLL(str(library))
    except OSError as error:
        return first_line(error)
    return ""


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """ONNX Runtime's own lines on stderr about a provider say what ours says, in three or four lines."""
    onnxruntime.set_default_logger_severity(_FATAL)
    try:
        yield
    finally:
        onnxruntime.set_default_logger_severity(_ERRORS)
