"""Reading Ground Truth manifests: the forms Lookout for Vision knew, and one clear error for each fault."""

from __future__ import annotations

import pytest
from manifests import image_line, mask_entries, save_image, write_lines

from edge_agent.errors import TrainingError
from edge_agent.training.ground_truth import read_ground_truth


@pytest.fixture
def folder(tmp_path):
    for name in ("good.png", "bad.png", "mask.png"):
        save_image(tmp_path / name)
    return tmp_path


def bad_line(**changes):
    line = {**image_line("bad.png", 1), **mask_entries("mask.png", {"scratch": "#23A436", "dent": "#14a3b3"})}
    line.update(changes)
    return line


def test_labels_masks_and_classes(folder):
    labelled = read_ground_truth(write_lines(folder, [image_line("good.png", 0), "", bad_line()]))
    good, bad = labelled.examples
    assert labelled.classes == ("background", "scratch", "dent")
    assert (good.is_anomalous, good.mask, good.colors) == (False, None, {})
    assert (bad.is_anomalous, bad.mask) == (True, folder / "mask.png")
    assert bad.colors == {"background": (255, 255, 255), "scratch": (0x23, 0xA4, 0x36), "dent": (0x14, 0xA3, 0xB3)}
    assert bad.place.endswith("line 3")


def test_background_in_the_colour_map_is_no_class(folder):
    line = {**image_line("bad.png", 1), **mask_entries("mask.png", {"BACKGROUND": "#000000", "dent": "#14A3B3"})}
    labelled = read_ground_truth(write_lines(folder, [line]))
    assert labelled.classes == ("background", "dent")
    assert labelled.examples[0].colors["background"] == (0, 0, 0)


def test_manifest_without_masks_has_no_classes(folder):
    labelled = read_ground_truth(write_lines(folder, [image_line("good.png", 0), image_line("bad.png", 1)]))
    assert labelled.classes == ()


def test_attributes_may_be_named_after_their_job(folder):
    line = {
        "source-ref": "bad.png",
        "my-job": 7,
        "my-job-metadata": {"class-name": "Anomaly", "type": "groundtruth/image-classification"},
    }
    assert read_ground_truth(write_lines(folder, [line])).examples[0].is_anomalous


def test_class_names_of_another_kind_leave_the_label_to_decide(folder):
    line = image_line("bad.png", 1)
    line["anomaly-label-metadata"]["class-name"] = "defect"
    assert read_ground_truth(write_lines(folder, [line])).examples[0].is_anomalous
    line["anomaly-label"] = 3
    with pytest.raises(TrainingError, match="line 1: anomaly-label: is 3"):
        read_ground_truth(write_lines(folder, [line]))


def colour_map(entry):
    return {"internal-color-map": {"1": entry}, "type": "groundtruth/semantic-segmentation"}


FAULTS = {
    "no JSON": ("{torn", "line 2: is not JSON"),
    "no object": ("[1]", "line 2: is not a JSON object"),
    "no source": (bad_line(**{"source-ref": None}), "line 2: source-ref: is missing"),
    "no label": ({"source-ref": "bad.png"}, "has no image label"),
    "S3 image": (bad_line(**{"source-ref": "s3://bucket/a.jpg"}), "line 2: source-ref: 's3://bucket/a.jpg' lies in S3"),
    "S3 mask": (bad_line(**{"anomaly-mask-ref": "s3://b/m.png"}), "line 2: anomaly-mask-ref: .*--source-ref-prefix"),
    "missing image": (bad_line(**{"source-ref": "gone.png"}), "line 2: source-ref: 'gone.png' is not a file"),
    "missing mask": (
        bad_line(**{"anomaly-mask-ref": "gone.png"}),
        "line 2: anomaly-mask-ref: 'gone.png' is not a file",
    ),
    "image twice": (image_line("good.png", 0), "line 2: source-ref: repeats the image of line 1"),
    "no colour map": (
        bad_line(**{"anomaly-mask-ref-metadata": {"type": "groundtruth/semantic-segmentation"}}),
        "anomaly-mask-ref-metadata: has no internal-color-map",
    ),
    "no colour": (
        bad_line(**{"anomaly-mask-ref-metadata": colour_map({"class-name": "dent"})}),
        r"internal-color-map\.1: has hex-color ''",
    ),
    "no class": (
        bad_line(**{"anomaly-mask-ref-metadata": colour_map({"hex-color": "#112233"})}),
        r"internal-color-map\.1: has no class-name",
    ),
    "white class": (
        bad_line(**{"anomaly-mask-ref-metadata": colour_map({"class-name": "dent", "hex-color": "#FFFFFF"})}),
        "the colour of another class",
    ),
    "two labels": (
        bad_line(**{"b": 1, "b-metadata": {"type": "groundtruth/image-classification"}}),
        "b: is a second attribute",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_fault_is_named_with_line_and_key(folder, name):
    line, message = FAULTS[name]
    with pytest.raises(TrainingError, match=message):
        read_ground_truth(write_lines(folder, [image_line("good.png", 0), line]))


def test_unreadable_and_empty_manifests(tmp_path):
    with pytest.raises(TrainingError, match=r"none\.manifest: cannot be read"):
        read_ground_truth(tmp_path / "none.manifest")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TrainingError, match="binary: cannot be read"):
        read_ground_truth(tmp_path / "binary")
    with pytest.raises(TrainingError, match="holds no lines"):
        read_ground_truth(write_lines(tmp_path, []))


@pytest.mark.shared_data
def test_cookies(shared_data):
    manifest = shared_data / "cookies" / "train.manifest"
    labelled = read_ground_truth(manifest)
    assert labelled.classes == ("background", "cracked")
    assert len(labelled.examples) == len(manifest.read_text(encoding="utf-8").splitlines()) == 63
    assert sum(example.is_anomalous for example in labelled.examples) == 32
    assert all((example.mask is not None) == example.is_anomalous for example in labelled.examples)
