"""`edge-agent evaluate` and `models describe`: what they say against a literal count, by package and through an agent."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from manifests import image_line, mask_entries, run_verb, write_lines
from PIL import Image
from support.packages import make_package

from edge_agent.cli.evaluate import evaluate_command
from edge_agent.cli.models import models
from edge_agent.errors import TrainingError
from edge_agent.inspection import Anomaly
from edge_agent.training.evaluation import Answer, evaluate
from edge_agent.training.ground_truth import read_ground_truth

pytest.importorskip("cv2")
pytest.importorskip("onnxruntime")

from edge_agent.server import ModelServer

HEIGHT, WIDTH = 240, 320
GREY, RED, GREEN = (120, 120, 120), (250, 10, 10), (10, 250, 10)
COLORS = {"scratch": "#23A436", "dent": "#14A3B3"}
PAINT = {"scratch": (0x23, 0xA4, 0x36), "dent": (0x14, 0xA3, 0xB3)}

# What is painted (class the model sees, rows, columns), and what the manifest says: label, masked class and place.
CASES = [
    (None, None, 0, None, None),
    (None, None, 0, None, None),
    ("scratch", (40, 80, 60, 120), 1, "scratch", (40, 80, 60, 120)),
    ("scratch", (100, 160, 20, 100), 1, "scratch", (100, 160, 60, 140)),
    ("dent", (20, 60, 200, 260), 1, "scratch", (20, 60, 200, 260)),
    ("dent", (20, 60, 200, 260), 1, "dent", (30, 80, 180, 260)),
    ("scratch", (150, 200, 100, 200), 0, None, None),
    (None, None, 1, "dent", (60, 100, 60, 100)),
    (None, None, 1, None, None),
]


def write_cases(folder):
    lines = []
    for number, (seen, place, label, masked, labelled) in enumerate(CASES):
        image = np.full((HEIGHT, WIDTH, 3), GREY, dtype=np.uint8)
        if seen:
            image[place[0] : place[1], place[2] : place[3]] = RED if seen == "scratch" else GREEN
        Image.fromarray(image).save(folder / f"{number}.png")
        line = image_line(f"{number}.png", label)
        if masked:
            mask = np.full((HEIGHT, WIDTH, 3), 255, dtype=np.uint8)
            mask[labelled[0] : labelled[1], labelled[2] : labelled[3]] = PAINT[masked]
            Image.fromarray(mask).save(folder / f"{number}-mask.png")
            line.update(mask_entries(f"{number}-mask.png", COLORS))
        lines.append(line)
    return write_lines(folder, lines)


def literal_counts():
    """The same by hand: sets of pixels and single images, no array but for the mask's coarser cells."""
    images = {"tp": 0, "fp": 0, "fn": 0, "tn": 0}
    both = {"scratch": 0, "dent": 0, "any": 0}
    either = dict(both)
    for seen, place, label, masked, labelled in CASES:
        images[("tp" if label else "fp") if seen else ("fn" if label else "tn")] += 1
        if label and not masked:
            continue  # nobody labelled its pixels
        found, truth = set(), set()
        for y in range(HEIGHT):
            for x in range(WIDTH):
                # The model looks at 128x96 and its mask is enlarged by nearest neighbour: cells of 2.5 pixels.
                if seen and inside(place, int(y * 96 / HEIGHT), int(x * 128 / WIDTH)):
                    found.add((y, x))
                if masked and labelled[0] <= y < labelled[1] and labelled[2] <= x < labelled[3]:
                    truth.add((y, x))
        for name in ("scratch", "dent"):
            here, there = found if seen == name else set(), truth if masked == name else set()
            both[name] += len(here & there)
            either[name] += len(here | there)
        both["any"] += len(found & truth)
        either["any"] += len(found | truth)
    return images, {name: both[name] / either[name] for name in both}


def inside(place, row, column):
    """Whether a cell of the model's input is more painted than grey: the cell's own mean decides."""
    top, bottom, left, right = place
    rows = overlap(row * 2.5, row * 2.5 + 2.5, top, bottom)
    columns = overlap(column * 2.5, column * 2.5 + 2.5, left, right)
    return rows * columns > 0.5


def overlap(low, high, first, last):
    return max(0.0, min(high, last) - max(low, first)) / (high - low)


@pytest.fixture
def socket_path():
    directory = tempfile.mkdtemp(prefix="ea-")
    yield f"{directory}/agent.sock"
    shutil.rmtree(directory)


@pytest.fixture
def store(tmp_path):
    performance = {"held_out": {"f1": 0.9, "recall": 1.0, "precision": 0.8182}}
    make_package(
        tmp_path / "store" / "bolts", size=(96, 128), raw_image_shape=(HEIGHT, WIDTH), top={"performance": performance}
    )
    make_package(tmp_path / "store" / "nuts")
    return tmp_path / "store"


@pytest.fixture
def agent(store, socket_path):
    server = ModelServer(store, socket_path)
    server.start()
    yield socket_path
    server.stop(5)


def run(*arguments):
    return json.loads(run_verb(evaluate_command, *arguments, "--json").out)


def check(document):
    images, overlaps = literal_counts()
    precision = images["tp"] / (images["tp"] + images["fp"])
    recall = images["tp"] / (images["tp"] + images["fn"])
    assert document["images"] == len(CASES)
    assert document["Performance"] == {
        "F1Score": round(2 * precision * recall / (precision + recall), 4),
        "Recall": round(recall, 4),
        "Precision": round(precision, 4),
    }
    assert document["accuracy"] == round((images["tp"] + images["tn"]) / len(CASES), 4)
    assert document["confusion"] == {
        "anomaly": {"anomaly": images["tp"], "normal": images["fn"]},
        "normal": {"anomaly": images["fp"], "normal": images["tn"]},
    }
    wrong = [number for number, case in enumerate(CASES) if bool(case[0]) != bool(case[2])]
    assert [Path(entry["image"]).name for entry in document["mistakes"]] == [f"{number}.png" for number in wrong]
    mask = document["mask"]
    assert mask["images"] == len(CASES) - 1
    assert mask["iou"] == pytest.approx({name: overlaps[name] for name in COLORS}, abs=1e-4)
    assert mask["iou_of_any_class"] == pytest.approx(overlaps["any"], abs=1e-4)
    assert np.sum(mask["pixels"]) == HEIGHT * WIDTH * (len(CASES) - 1)


def test_a_package_says_what_a_literal_count_says(tmp_path, store):
    check(run("--model", store / "bolts", "--manifest", write_cases(tmp_path)))


def test_through_an_agent_the_same(tmp_path, agent):
    manifest = write_cases(tmp_path)
    check(run("--model", "bolts", "--manifest", manifest, "--socket", agent))
    text = CliRunner().invoke(evaluate_command, ["--model", "bolts", "--manifest", str(manifest), "--socket", agent])
    assert "F1Score" in text.stdout
    assert "(any class)" in text.stdout
    assert "called anomalous" in text.stdout


def test_a_mask_of_another_size_and_another_name_is_compared(tmp_path):
    labelled = read_ground_truth(write_cases(tmp_path))
    example = labelled.examples[2]
    small = np.full((24, 32, 3), 255, dtype=np.uint8)
    small[4:8, 6:12] = (1, 2, 3)
    answer = Answer(
        is_anomalous=True,
        confidence=0.9,
        score=None,
        anomalies=(Anomaly("Background", 0.9, "#ffffff"), Anomaly("crack", 0.1, "#010203")),
        mask=small,
    )
    result = evaluate([example], labelled.classes, lambda _: answer)
    assert result.pixels.by_class() == {"scratch": 0.0, "dent": None, "crack": 0.0}
    assert result.pixels.of_any_class() == 1.0
    strange = Answer(
        is_anomalous=True, confidence=0.9, score=None, anomalies=(Anomaly("crack", 0.1, "#010204"),), mask=small
    )
    with pytest.raises(TrainingError, match=r"2\.png: got a mask with 24 pixels"):
        evaluate([example], labelled.classes, lambda _: strange)
    torn = Answer(is_anomalous=True, confidence=0.9, score=None, anomalies=(Anomaly("crack", 0.1, "red"),), mask=small)
    with pytest.raises(TrainingError, match="crack with colour 'red'"):
        evaluate([example], labelled.classes, lambda _: torn)


def test_a_manifest_without_masks_compares_none(tmp_path, store):
    manifest = write_cases(tmp_path)
    lines = [json.loads(line) for line in manifest.read_text().splitlines()]
    kept = [{key: value for key, value in line.items() if "mask" not in key} for line in lines]
    document = run("--model", store / "bolts", "--manifest", write_lines(tmp_path, kept))
    assert "mask" not in document
    assert document["images"] == len(CASES)


def test_held_out_images_are_known_to_the_package_alone(tmp_path, store, agent):
    manifest = write_cases(tmp_path)
    path = store / "bolts" / "manifest.json"
    document = json.loads(path.read_text())
    arguments = ["--model", str(store / "bolts"), "--manifest", str(manifest), "--held-out"]
    done = CliRunner().invoke(evaluate_command, arguments)
    assert isinstance(done.exception, TrainingError)
    assert "does not say which images its training held out" in str(done.exception)
    document["training"] = {"held_out_images": ["0.png", "2.png", "6.png"]}
    path.write_text(json.dumps(document))
    found = run(*arguments)
    assert (found["images"], found["Performance"]["Precision"]) == (3, 0.5)
    document["training"]["held_out_images"].append("elsewhere.png")
    path.write_text(json.dumps(document))
    assert "has 3 images of the 4 names" in str(CliRunner().invoke(evaluate_command, arguments).exception)
    assert CliRunner().invoke(evaluate_command, [*arguments, "--agent", "--socket", agent]).exit_code == 2


def test_describe_shows_the_performance_that_a_package_carries(agent):
    shown = CliRunner().invoke(models, ["describe", "bolts", "--socket", agent]).output
    assert [line.split() for line in shown.splitlines()][-3:] == [
        ["F1Score", "0.9"],
        ["Recall", "1"],
        ["Precision", "0.8182"],
    ]
    document = json.loads(CliRunner().invoke(models, ["describe", "bolts", "--socket", agent, "--json"]).output)
    assert document["Performance"] == {"F1Score": 0.9, "Recall": 1.0, "Precision": 0.8182}
    started = json.loads(CliRunner().invoke(models, ["start", "bolts", "--socket", agent, "--json"]).output)
    assert (started["status"], started["Performance"]["F1Score"]) == ("RUNNING", 0.9)
    other = json.loads(CliRunner().invoke(models, ["describe", "nuts", "--socket", agent, "--json"]).output)
    assert "Performance" not in other


@pytest.mark.parametrize(
    "held_out",
    [None, [], {"f1": 1}, {"f1": "1", "recall": 1, "precision": 1}, {"f1": 1.5, "recall": 1, "precision": 1}],
)
def test_what_is_no_performance_is_not_shown(tmp_path, held_out):
    from edge_agent.model import read_manifest

    make_package(tmp_path / "odd", top={"performance": {"held_out": held_out}})
    assert read_manifest(tmp_path / "odd").held_out_performance is None
