"""Fixtures for every test: a clean environment, and no segment of ours left in shared memory."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any, Dict, Iterator, Set

import jsonschema
import pytest
import referencing

import edge_agent  # noqa: F401 - before any test loads gRPC: see its fork handlers there

CHECKOUT = Path(__file__).parents[1]

_NUCLEUS_VARIABLES = (
    "SVCUID",
    "AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT",
    "AWS_IOT_THING_NAME",
    "EDGE_AGENT_MODELS",
    "EDGE_AGENT_GREENGRASS",
    "EDGE_AGENT_AUTOSTART",
    "EDGE_AGENT_SOCKET",
    "EDGE_AGENT_THREADS",
    "EDGE_AGENT_LOG_LEVEL",
    "EDGE_AGENT_LOG_FORMAT",
    "EDGE_AGENT_METRICS",
    "EDGE_AGENT_METRICS_TOKEN_FILE",
    "GGC_VERSION",
)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    for name in _NUCLEUS_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    # A spool that a test does not place lies here.
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))


@pytest.fixture(autouse=True)
def no_segment_left() -> Iterator[None]:
    """Shared memory that this process made in a test is gone at its end."""
    before = _own_segments()
    yield
    assert _own_segments() - before == set()


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """A verb that a test ran in this process set up logging for itself alone."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    yield
    root.setLevel(level)
    root.handlers[:] = handlers
    logging.captureWarnings(capture=False)


@pytest.fixture(scope="session")
def inspection_schema() -> Dict[str, Any]:
    schema: Dict[str, Any] = json.loads((CHECKOUT / "docs" / "inspection.schema.json").read_text())
    return schema


@pytest.fixture(scope="session")
def batch_schema(inspection_schema: Dict[str, Any]) -> Any:
    """A validator of batches."""
    schema = json.loads((CHECKOUT / "docs" / "inspection-batch.schema.json").read_text())
    registry = referencing.Registry().with_resource(
        "inspection.schema.json", referencing.Resource.from_contents(inspection_schema)
    )
    return jsonschema.Draft7Validator(schema, registry=registry)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The directory of development images; EDGE_AGENT_DATA names it, or it lies beside the checkout."""
    directory = Path(os.environ.get("EDGE_AGENT_DATA") or CHECKOUT.parent / "shared" / "data")
    if not (directory / "cookies").is_dir():
        pytest.skip("the development images are not here; EDGE_AGENT_DATA names the directory that holds cookies/")
    return directory


def _own_segments() -> Set[str]:
    return {path.name for path in Path("/dev/shm").glob(f"edge-agent-{os.getpid()}-*")}
