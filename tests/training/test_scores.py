"""The split, the threshold and the numbers, each against a case worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from edge_agent.errors import TrainingError
from edge_agent.training import TrainingSettings, scores
from edge_agent.training.ground_truth import Example, LabelledSet
from edge_agent.training.settings import default_epochs, input_size
from edge_agent.training.split import split


def labelled(tmp_path, good, scratched, cracked):
    kinds = (
        [(False, {})] * good + [(True, {"scratch": (1, 2, 3)})] * scratched + [(True, {"crack": (3, 2, 1)})] * cracked
    )
    examples = [
        Example(f"line {number}", tmp_path / f"{number}.png", anomalous, None, "", colors)
        for number, (anomalous, colors) in enumerate(kinds)
    ]
    return LabelledSet(tmp_path / "m", tuple(examples), ("background", "scratch", "crack"))


def test_split_takes_its_share_of_every_kind(tmp_path):
    examples = labelled(tmp_path, 20, 10, 5)
    training, held = split(examples, 0.2, seed=3)
    assert (len(training), len(held)) == (28, 7)
    assert {e.place for e in training}.isdisjoint(e.place for e in held)
    assert sum(not e.is_anomalous for e in held) == 4
    assert sum("scratch" in e.colors for e in held) == 2
    assert sum("crack" in e.colors for e in held) == 1
    assert split(examples, 0.2, seed=3) == (training, held)
    assert split(examples, 0.2, seed=4) != (training, held)


def test_split_holds_out_at_least_one_of_each(tmp_path):
    _, held = split(labelled(tmp_path, 4, 4, 0), 0.05, seed=0)
    assert sorted(e.is_anomalous for e in held) == [False, True]


def test_too_few_images_are_refused(tmp_path):
    with pytest.raises(TrainingError, match="holds 3 anomalous images"):
        split(labelled(tmp_path, 9, 2, 1), 0.2, seed=0)
    with pytest.raises(TrainingError, match="holds 0 normal images"):
        split(labelled(tmp_path, 0, 9, 9), 0.2, seed=0)


def test_image_metrics_by_hand():
    found = np.array([0.9, 0.8, 0.6, 0.4, 0.2])
    truth = np.array([True, True, False, True, False])
    assert scores.image_metrics(found, truth, 0.5) == {
        "precision": 0.6667,
        "recall": 0.6667,
        "f1": 0.6667,
        "accuracy": 0.6,
    }
    assert scores.auroc(found, truth) == pytest.approx(5 / 6, abs=1e-4)
    assert scores.auroc(found[truth], truth[truth]) is None
    # A score that equals the threshold at four decimals is anomalous (contract section 5.5).
    assert scores.image_metrics(np.array([0.49996]), np.array([True]), 0.5)["recall"] == 1.0


def test_threshold_has_the_best_held_out_f1_and_then_heeds_the_rest():
    held, truth = np.array([0.1, 0.2, 0.8, 0.9]), np.array([False, False, True, True])
    nothing = np.array([]), np.array([], dtype=bool)
    assert scores.choose_threshold(held, truth, *nothing) == pytest.approx(0.5, abs=1e-3)
    # A normal training image at 0.6 leaves only the upper part of the gap.
    above = scores.choose_threshold(held, truth, np.array([0.6]), np.array([False]))
    assert 0.6 < above < 0.8
    # An anomalous one at 0.05 must not pull the threshold below the held-out normals.
    assert 0.2 < scores.choose_threshold(held, truth, np.array([0.05]), np.array([True])) < 0.8


def test_threshold_stays_inside_when_scores_are_saturated():
    found, truth = np.array([0.0, 1.0, 1.0]), np.array([False, True, True])
    assert 0.01 < scores.choose_threshold(found, truth, found, truth) < 0.99


def test_intersection_over_union_pools_images():
    pixels = scores.PixelConfusion(("background", "scratch", "dent"))
    pixels.add(np.array([[0, 1, 1, 0]], dtype=np.uint8), np.array([[0, 1, 0, 0]], dtype=np.uint8))
    pixels.add(np.array([[1, 1, 0, 0]], dtype=np.uint8), np.array([[1, 0, 1, 0]], dtype=np.uint8))
    assert pixels.by_class() == {"scratch": 0.4, "dent": None}
    assert pixels.counts.tolist() == [[3, 2, 0], [1, 2, 0], [0, 0, 0]]


def test_a_class_that_only_the_model_knows_is_counted():
    pixels = scores.PixelConfusion(("background", "scratch"))
    pixels.add(np.array([[0, 1, 1]], dtype=np.uint8), np.array([[0, 1, 1]], dtype=np.uint8))
    assert pixels.index("dent") == 2
    pixels.add(np.array([[2, 2, 1]], dtype=np.uint8), np.array([[1, 0, 1]], dtype=np.uint8))
    assert pixels.by_class() == {"scratch": 0.75, "dent": 0.0}
    # Of any class: four pixels that both call anomalous, of five that either does.
    assert pixels.of_any_class() == 0.8
    assert scores.PixelConfusion(("background",)).of_any_class() is None


@pytest.mark.parametrize(
    ("image", "wanted"),
    [((576, 768), (288, 384)), ((640, 480), (384, 288)), ((1920, 1080), (384, 224)), ((64, 64), (64, 64))],
)
def test_input_keeps_the_aspect(image, wanted):
    assert input_size(image) == wanted


def test_few_images_are_seen_more_often():
    assert default_epochs(10) == 120
    assert default_epochs(50) == 120
    assert default_epochs(100) == 60
    assert default_epochs(100_000) == 12


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "../up"}, "name '../up'"),
        ({"name": ".hidden"}, "name '.hidden'"),
        ({"name": ""}, "name ''"),
        ({"version": "1.0"}, "version '1.0'"),
        ({"epochs": 0}, "epochs"),
        ({"holdout": 0.0}, "holdout"),
        ({"holdout": 0.9}, "holdout"),
        ({"seed": -1}, "seed"),
        ({"threads": 0}, "threads"),
        ({"size": (320, 250)}, "size 320x250"),
        ({"size": (32, 64)}, "size 32x64"),
    ],
)
def test_impossible_settings_are_refused(tmp_path, change, message):
    settings = TrainingSettings(**{"manifest": tmp_path, "out": tmp_path, "name": "n", **change})
    with pytest.raises(TrainingError, match=message):
        settings.check()
