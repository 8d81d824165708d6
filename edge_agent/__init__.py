"""Visual inspection at the edge on AWS IoT Greengrass: frames in, verdicts on AWS IoT Core."""

from __future__ import annotations

import os

from edge_agent._version import __version__

__all__ = ["__version__"]

# gRPC's fork handlers serve children that go on with gRPC. Ours start another program at once, and the handlers of
# gRPC 1.70 were seen to abort the process then. To be set before gRPC is loaded, so here: before any module of ours.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
