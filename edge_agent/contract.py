"""What both sides of the Edge Agent contract agree on beside the messages (contract sections 1.1, 1.8)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional

#: Where AWS's Edge Agent listens, and where unmodified clients look for it.
AWS_SOCKET = "/tmp/aws.iot.lookoutvision.EdgeAgent.sock"  # noqa: S108 - the contract's path

#: Where our model server listens, whoever has the other path.
OWN_SOCKET = "/tmp/com.edgeagent.ModelServer.sock"  # noqa: S108 - beside the contract's

#: gRPC's own limit of 4 MiB is below one 1080p frame; the contract's largest image is 48 MiB.
MAX_MESSAGE_BYTES = 64 * 1024 * 1024

#: Trailing metadata of DetectAnomalies from our server: the version of the model that decided, and milliseconds of
#: waiting, pre-processing, inference and post-processing, joined by semicolons.
VERSION_METADATA = "edge-agent-model-version"
TIMINGS_METADATA = "edge-agent-timings"

#: Trailing metadata of DescribeModel from our server: a `Performance` as text, where the package says one.
PERFORMANCE_METADATA = "edge-agent-model-performance"


class Performance(NamedTuple):
    """How a model does on images with known labels, each 0..1: the service's DescribeModel called these its Performance."""

    f1_score: float
    recall: float
    precision: float

    def as_dict(self) -> Dict[str, float]:
        """By the service's names."""
        return {"F1Score": self.f1_score, "Recall": self.recall, "Precision": self.precision}

    def as_text(self) -> str:
        return json.dumps(self.as_dict())

    @classmethod
    def of(cls, document: Any, *names: str) -> Optional[Performance]:
        """From an object with numbers under `names` (F1, recall, precision); None for anything else."""
        values: List[Any] = [document.get(name) for name in names] if isinstance(document, dict) else []
        shares = [float(value) for value in values if _is_share(value)]
        return cls(*shares) if len(shares) == len(cls._fields) else None

    @classmethod
    def from_text(cls, text: str) -> Optional[Performance]:
        """From `as_text` of any server; None for what is none."""
        try:
            return cls.of(json.loads(text), "F1Score", "Recall", "Precision")
        except (ValueError, RecursionError):
            return None


def _is_share(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1


def socket_path(address: str) -> Path:
    """The absolute path in a plain path or in AWS's form `unix:///tmp/x.sock`."""
    return Path(address[len("unix:") :] if address.startswith("unix:") else address).absolute()
