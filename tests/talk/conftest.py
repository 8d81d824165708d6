"""A site with the shipped recipe, in both modes of the nucleus."""

from __future__ import annotations

from pathlib import Path
from typing import Iterator

import pytest
from support.plant import Component, Plant


@pytest.fixture(params=["classic", "lite"])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def plant(tmp_path: Path, mode: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plant]:
    made = Plant(tmp_path, mode, monkeypatch.setenv)
    yield made
    made.close()


@pytest.fixture
def component(plant: Plant) -> Iterator[Component]:
    made = Component(plant)
    yield made
    made.close()
