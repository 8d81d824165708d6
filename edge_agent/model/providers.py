"""Which execution provider of ONNX Runtime a model is tried on, and with which settings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple

#: ONNX Runtime's name of each provider by ours, the preferred one first.
PROVIDERS: Dict[str, str] = {
    "tensorrt": "TensorrtExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "cpu": "CPUExecutionProvider",
}


#: Before a name: all but this one.
EXCLUDE = "no-"


@dataclass(frozen=True)
class OnnxOptions:
    """How ONNX packages are run.

    Attributes:
        providers: names out of `PROVIDERS` in the order in which they are tried, and no others; or names to leave out,
            each after `EXCLUDE`; empty for all that the installed ONNX Runtime has, in the order of `PROVIDERS`.
        tensorrt_cache: directory in which TensorRT keeps the engines that it builds, which takes it minutes; None to
            build them at each load. See `edge_agent.model.tensorrt_cache`.

    Raises:
        ValueError: no such provider, one named twice, or names to try beside names to leave out.
    """

    providers: Tuple[str, ...] = ()
    tensorrt_cache: Optional[Path] = None

    def __post_init__(self) -> None:
        excluded = _excluded(self.providers)
        for name in excluded or self.providers:
            if name not in PROVIDERS:
                raise ValueError(f"{name!r} is no provider: choose from {', '.join(PROVIDERS)}")
        if len(set(self.providers)) != len(self.providers):
            raise ValueError("a provider is named twice")
        if excluded and len(excluded) != len(self.providers):
            raise ValueError("either name what is tried, or what is left out")


def providers_to_try(wanted: Sequence[str], available: Sequence[str]) -> Tuple[List[str], List[str]]:
    """The providers to try in order, and those that were asked for by name though they are not available.

    Args:
        wanted: as `OnnxOptions.providers`.
        available: as `onnxruntime.get_available_providers()`; those not in `PROVIDERS` are passed over.
    """
    present = [name for name, full in PROVIDERS.items() if full in available]
    excluded = _excluded(wanted)
    if excluded or not wanted:
        return [name for name in present if name not in excluded], []
    return [name for name in wanted if name in present], [name for name in wanted if name not in present]


def settings_of(provider: str, *, threads: int, tensorrt_cache: Optional[Path]) -> Dict[str, str]:
    """ONNX Runtime's options of one provider."""
    if provider == "openvino":
        # It has a pool of its own, to which the session's number of threads means nothing.
        # And it would take 16 bits where a processor has them: one package answers the same everywhere.
        return {"device_type": "CPU", "num_of_threads": str(threads), "precision": "FP32"}
    if provider == "tensorrt" and tensorrt_cache is not None:
        path = str(tensorrt_cache)
        return {
            "trt_engine_cache_enable": "1",
            "trt_engine_cache_path": path,
            "trt_timing_cache_enable": "1",
            "trt_timing_cache_path": path,
        }
    return {}


def _excluded(names: Sequence[str]) -> List[str]:
    return [name[len(EXCLUDE) :] for name in names if name.startswith(EXCLUDE)]
