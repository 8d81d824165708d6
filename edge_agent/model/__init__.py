"""The packaged model as files and arithmetic; it knows nothing of gRPC (docs/model-package.md).

with open_package("bolts.zip") as package:
    model = load_model(package, threads=2)
    self_test(model, package)
verdict = model.detect(pixels)
"""

from __future__ import annotations

from edge_agent.model.manifest import Manifest
from edge_agent.model.model import Model, load_model
from edge_agent.model.package import ModelPackage, largest_file, open_package, read_manifest
from edge_agent.model.providers import PROVIDERS, OnnxOptions
from edge_agent.model.selftest import self_test
from edge_agent.model.trust import PublicKey
from edge_agent.model.verdict import StageTimings, Verdict

__all__ = [
    "PROVIDERS",
    "Manifest",
    "Model",
    "ModelPackage",
    "OnnxOptions",
    "PublicKey",
    "StageTimings",
    "Verdict",
    "largest_file",
    "load_model",
    "open_package",
    "read_manifest",
    "self_test",
]
