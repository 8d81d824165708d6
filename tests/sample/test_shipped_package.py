"""The package in the wheel: small, complete, and right about parts that no training has seen."""

from __future__ import annotations

import json

import numpy as np
import pytest

from edge_agent.model import load_model, open_package
from edge_agent.sample import CLASS_NAMES, MODEL_NAME, models_directory, render_part

pytest.importorskip("onnxruntime")
pytest.importorskip("cv2")

#: Far from the seeds that scripts/train_sample judges by.
FIRST_SEED = 1_234_000


@pytest.fixture(scope="module")
def model():
    with open_package(models_directory() / MODEL_NAME) as package:
        loaded = load_model(package, threads=1)
    yield loaded
    loaded.close()


def test_package_is_small_and_says_how_it_was_made():
    directory = models_directory() / MODEL_NAME
    files = [path for path in models_directory().rglob("*") if path.is_file()]
    assert {path.relative_to(directory).as_posix() for path in files} == {"manifest.json", "mochi/model.onnx"}
    assert sum(path.stat().st_size for path in files) <= 2_000_000
    document = json.loads((directory / "manifest.json").read_text(encoding="utf-8"))
    assert document["model_graph"]["pixel_level_classes"]["names"] == list(CLASS_NAMES)
    assert document["package"]["name"] == MODEL_NAME
    assert "scripts/train_sample" in document["training"]["source"]
    assert document["performance"]["fresh_parts"]["agreement"] >= 0.98


def test_verdicts_agree_with_the_truth(model):
    parts = [render_part(seed) for seed in range(FIRST_SEED, FIRST_SEED + 150)]
    assert 20 <= sum(part.is_anomalous for part in parts) <= 70
    agreed = [model.detect(part.image).is_anomalous == part.is_anomalous for part in parts]
    assert np.mean(agreed) >= 0.95


@pytest.mark.parametrize("name", CLASS_NAMES[1:])
def test_mask_shows_each_class_where_it_is(model, name):
    found = 0
    for seed in range(FIRST_SEED, FIRST_SEED + 20):
        part = render_part(seed, defect=name)
        verdict = model.detect(part.image)
        assert verdict.mask.shape == (480, 640, 3)
        shown = (verdict.mask != 255).any(axis=2)
        overlap = np.count_nonzero(shown & (part.mask > 0)) / max(np.count_nonzero(shown | (part.mask > 0)), 1)
        found += name in {anomaly.name for anomaly in verdict.anomalies} and overlap > 0.2
    assert found >= 16
