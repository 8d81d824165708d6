"""What a person says of a verdict is in the manifest, whatever else happens there meanwhile."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, List

import numpy as np
import pytest
from recorder.conftest import SECOND_NS, START_NS, Rig, frame, inspection
from support.waiting import until

from edge_agent.cameras.replay import ReplayCamera, ReplaySettings
from edge_agent.clock import SystemClock
from edge_agent.errors import ConfigError, ImageGoneError, RecorderError, ReviewError
from edge_agent.frame import Pixels
from edge_agent.recorder import Query
from edge_agent.recorder.journal import ReviewJournal
from edge_agent.recorder.keeper import Keeper
from edge_agent.recorder.manifest import Manifest
from edge_agent.training.ground_truth import read_ground_truth


def _mask() -> Pixels:
    """White, with a red corner."""
    mask = np.full((64, 64, 3), 255, np.uint8)
    mask[:8, :8] = (255, 0, 0)
    return mask


def _names(rig: Rig) -> List[str]:
    """Of the images, in the order of the manifest."""
    return [Path(line["source-ref"]).stem for line in rig.lines()]


def _folded(rig: Rig) -> bool:
    return not (rig.path / "a.reviews").exists()


def _text(rig: Rig) -> List[str]:
    return (rig.path / "a.manifest").read_text().splitlines(keepends=True)


@pytest.fixture
def line(rig: Rig) -> Rig:
    """Four parts, the second and the last anomalous."""
    rig.start()
    for number in range(1, 5):
        rig.give(number, anomalous=number % 2 == 0, confidence=0.5 + number / 10, mask=_mask())
    rig.settled()
    return rig


def test_the_label_is_a_persons_and_what_the_model_said_stays(line: Rig) -> None:
    sidecars = [path.read_bytes() for path in line.files() if path.suffix == ".json"]
    first, second, _, fourth = _names(line)
    lines = _text(line)
    line.recorder.review("a", first, "wrong", "a dent, at the rim")
    line.recorder.review("a", second, "wrong", "")
    line.recorder.review("a", fourth, "right", "")
    until(lambda: _folded(line))
    missed, false_alarm, untouched, confirmed = (line.lines()[index] for index in (0, 1, 2, 3))
    assert _text(line)[2] == lines[2]
    assert "review" not in untouched
    assert [one["anomaly-label"] for one in line.lines()] == [1, 0, 0, 1]
    for one, name in ((missed, "anomaly"), (false_alarm, "normal"), (confirmed, "anomaly")):
        metadata = one["anomaly-label-metadata"]
        assert (metadata["class-name"], metadata["confidence"], metadata["human-annotated"]) == (name, 1.0, "yes")
        assert (metadata["job-name"], metadata["type"]) == ("edge-agent/review", "groundtruth/image-classification")
        assert metadata["creation-date"] > "2026-11"
        assert one["recorded-for"] == "rule everything"
    assert "anomaly-mask-ref" in confirmed
    assert not any(key.startswith("anomaly-mask-ref") for key in false_alarm)
    assert missed["review"]["note"] == "a dent, at the rim"
    said = {"class-name": "anomaly", "confidence": 0.7, "classes": ["scratch"], "job-name": "edge-agent/Model"}
    assert false_alarm["review"]["said"] == said
    assert [path.read_bytes() for path in line.files() if path.suffix == ".json"] == sidecars
    assert line.counts()["reviewed"] == {"wrong": 2, "right": 1}


def test_training_and_replay_read_reviewed_lines(line: Rig) -> None:
    first, second, _, fourth = _names(line)
    line.recorder.review("a", first, "wrong", "")
    line.recorder.review("a", second, "wrong", 'a "note", with\nlines and \u00e9')
    line.recorder.review("a", fourth, "right", "")
    until(lambda: _folded(line))
    labelled = read_ground_truth(line.path / "a.manifest")
    assert [example.is_anomalous for example in labelled.examples] == [True, False, False, True]
    assert [example.mask is not None for example in labelled.examples] == [False, False, False, True]
    assert labelled.classes == ("background", "scratch")
    camera = ReplayCamera(ReplaySettings(path=str(line.path / "a.manifest"), speed=0), SystemClock())
    camera.open()
    shown: List[Any] = []

    def reserve(height: int, width: int) -> Pixels:
        shown.append(np.empty((height, width, 3), np.uint8))
        return shown[-1]  # type: ignore[no-any-return]

    for _ in range(4):
        assert camera.capture(reserve, 1.0) is not None
    assert [int(pixels[0, 0, 0]) for pixels in shown] == [3, 6, 9, 12]


def test_what_was_reviewed_is_taken_back_to_the_byte(line: Rig) -> None:
    manifest = line.path / "a.manifest"
    by_hand = manifest.read_text().replace('{"source-ref":"', '{ "source-ref" : "', 1)
    manifest.write_text(by_hand)
    names = _names(line)
    for name in names[:3]:
        line.recorder.review("a", name, "wrong", "first")
    until(lambda: _folded(line))
    assert manifest.read_text() != by_hand
    line.recorder.review("a", names[1], "right", "after all")  # a review is replaced, not kept within another
    for name in names[:3]:
        assert line.recorder.review("a", name, None, "").review is None
    until(lambda: _folded(line))
    assert manifest.read_text() == by_hand
    with pytest.raises(ReviewError, match="has no review that could be taken back"):
        line.recorder.review("a", names[0], None, "")
    assert line.counts()["reviewed"] == {"wrong": 3, "right": 1, "undone": 3}


def test_an_image_that_went_is_not_reviewed(line: Rig) -> None:
    first, second, *_ = _names(line)
    (line.path / line.lines()[0]["source-ref"]).unlink()
    with pytest.raises(ImageGoneError, match="not any more"):
        line.recorder.review("a", first, "right", "")
    with pytest.raises(ImageGoneError):
        line.recorder.review("a", second.replace("_2", "_7"), "right", "")
    with pytest.raises(ImageGoneError, match="lane b: has no recorded images"):
        line.recorder.review("b", second, "right", "")
    assert line.counts()["reviewed"] == {}


@pytest.mark.parametrize("name", ["../../etc/passwd", "", ".", "a.manifest", "x" * 300, "20261121T140531.000000Z_b_1"])
def test_a_name_that_is_none_of_ours_leads_nowhere(line: Rig, name: str) -> None:
    with pytest.raises(ImageGoneError):
        line.recorder.gallery().files("a", name)


@pytest.mark.parametrize("lane", ["..", "../recorded/a", "a/../a", "", "b", "x" * 100])
def test_a_lane_that_is_none_leads_nowhere(line: Rig, lane: str) -> None:
    with pytest.raises(ImageGoneError, match="has no recorded images"):
        line.recorder.gallery().find(lane, Query())


def test_a_line_that_a_person_made_another_one_stays(line: Rig) -> None:
    manifest = line.path / "a.manifest"
    edited = manifest.read_text().replace('"anomaly-label-metadata"', '"mine-metadata"')
    manifest.write_text(edited + '{"source-ref": "mine/1.png", "anomaly-label": 1}\nno json\n')
    before = manifest.read_text()
    with pytest.raises(ReviewError, match="has no anomaly-label-metadata"):
        line.recorder.review("a", _names_of(edited)[0], "right", "")
    assert manifest.read_text() == before
    assert line.recorder.gallery().find("a", Query()).recorded == 0


def _names_of(text: str) -> List[str]:
    return [Path(json.loads(line)["source-ref"]).stem for line in text.splitlines()]


def test_nothing_is_reviewed_where_nothing_is_recorded(rig: Rig) -> None:
    with pytest.raises(ConfigError, match="is not configured"):
        rig.recorder.review("a", "x", "right", "")


def test_images_are_found_by_what_is_asked(line: Rig) -> None:
    first, second, third, fourth = _names(line)
    gallery = line.recorder.gallery()

    def found(**query: Any) -> List[str]:
        return [image.name for image in gallery.find("a", Query(**query)).images]

    assert found() == [fourth, third, second, first]
    assert found(most=2) == [fourth, third]
    assert found(most=2, before=third) == [second, first]
    assert found(verdict="normal") == [third, first]
    assert found(found_class="scratch") == [fourth, second]
    assert found(below=0.75) == [second, first]
    assert found(reason="rule everything", since_s=START_NS / SECOND_NS + 3) == [fourth, third]
    assert found(until_s=START_NS / SECOND_NS + 2) == [first]
    assert found(reason="every") == []
    line.recorder.review("a", second, "wrong", "n")
    line.recorder.review("a", third, "right", "")
    # Before they are in the manifest, and after.
    for folded in (False, True):
        until(lambda: not folded or _folded(line))  # noqa: B023 - asked at once
        assert found(reviewed=True) == [third, second]
        assert found(reviewed=False, found_class="scratch") == [fourth]
        assert found(reviewed=True, found_class="scratch", verdict="anomalous") == [second]
        whole = gallery.find("a", Query(most=1))
        assert (whole.recorded, whole.matching, whole.right, whole.wrong) == (4, 4, 1, 1)
        assert (whole.classes, whole.reasons) == ({"scratch": 2}, {"rule everything": 4})


def test_a_part_that_a_person_labelled_shows_what_the_model_said(rig: Rig) -> None:
    rig.start(rules={}, every=1000)
    rig.recorder.ask("a", 1, "normal")
    rig.give(1, anomalous=True, confidence=0.6)
    rig.settled()
    [image] = rig.recorder.gallery().find("a", Query()).images
    assert (image.said_anomalous, image.said_confidence, image.said_classes) == (True, 0.6, ("scratch",))
    assert (image.label, image.by_person, image.review) == ("normal", True, None)
    assert rig.recorder.review("a", image.name, "wrong", "").label == "normal"


def test_an_anomaly_that_the_model_missed_is_kept_as_one(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.start()
    for number in range(1, 11):
        rig.give(number, anomalous=number == 2)
    rig.settled()
    names = _names(rig)
    rig.recorder.review("a", names[0], "wrong", "")
    rig.recorder.review("a", names[1], "wrong", "")
    one = sum(path.stat().st_size for path in rig.files()) // 10
    monkeypatch.setattr("edge_agent.recorder.settings._MIN_BYTES", 1)
    # After the next opening, too: the label is in the manifest.
    for keep in (5, 3):
        rig.start(bytes=keep * one + one // 2)
        until(lambda: 0 < rig.counts()["kept"] <= keep)  # noqa: B023 - asked at once
        assert rig.numbers()[0] == 1
        assert 2 not in rig.numbers()
    rig.give(11, anomalous=True)
    rig.give(12, anomalous=True)
    rig.give(13, anomalous=True)
    rig.settled()
    # No normal one is left: the oldest anomaly goes, as ever.
    assert rig.numbers() == [11, 12, 13]


def test_a_kill_before_the_manifest_is_written_costs_no_review(line: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_agent.recorder.folding._AFTER_S", 1000.0)
    monkeypatch.setattr(Keeper, "fold", lambda _keeper: None)
    lines = _text(line)
    first, second, *_ = _names(line)
    line.recorder.review("a", first, "wrong", "")
    line.recorder.review("a", second, "wrong", "")
    line.stop()
    assert _text(line) == lines
    with (line.path / "a.reviews").open("ab") as journal:
        journal.write(b'{"source-ref":"2026')  # torn
    (line.path / ".a.manifest.folded").write_bytes(b"half")
    again = Rig(line.path)
    again.start()
    assert [one["anomaly-label"] for one in again.lines()] == [1, 0, 0, 1]
    assert _text(again)[2:] == lines[2:]
    assert sorted(path.name for path in line.path.glob("*a.*")) == ["a.manifest"]
    again.stop()


def test_a_disk_that_fails_refuses_the_review_and_leaves_the_line(line: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    lines, name = _text(line), _names(line)[0]
    write = os.write
    broken = {"now": True}

    def fail(*arguments: Any) -> int:
        if broken["now"]:
            raise OSError(5, "Input/output error")
        return write(*arguments)

    monkeypatch.setattr(os, "write", fail)
    with pytest.raises(RecorderError, match="cannot be used"):
        line.recorder.review("a", name, "wrong", "")
    broken["now"] = False
    line.recorder.review("a", name, "wrong", "")
    until(lambda: _folded(line))
    assert _text(line)[1:] == lines[1:]
    assert line.counts()["reviewed"] == {"wrong": 1}


def test_a_fault_of_ours_costs_the_review_alone(line: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: Any) -> bytes:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(ReviewJournal, "write", fail)
    with pytest.raises(RecorderError, match="failed by an internal error"):
        line.recorder.review("a", _names(line)[0], "wrong", "")
    line.give(9)
    assert line.settled()["recorded"] == 5
    line.stop()
    with pytest.raises(RecorderError, match="has stopped"):
        line.recorder.review("a", _names(line)[0], "wrong", "")


def test_what_is_appended_while_a_manifest_is_written_anew_is_in_it(tmp_path: Path) -> None:
    manifest = Manifest(tmp_path / "a.manifest")
    for number in range(3):
        manifest.append(b'{"source-ref":"%d"}\n' % number)
    draft = manifest.draft({"1": b'{"source-ref":"1","x":1}\n', "2": None}, "folded")
    assert draft is not None
    manifest.append(b'{"source-ref":"3"}\n')
    assert draft.finish()
    expected = b'{"source-ref":"0"}\n{"source-ref":"1","x":1}\n{"source-ref":"3"}\n'
    assert manifest.path.read_bytes() == expected
    # Another file by now: nothing of it is lost.
    late = manifest.draft({"0": None}, "folded")
    manifest.rewrite({"3": None})
    assert late is not None
    assert not late.finish()
    assert manifest.path.read_bytes() == expected.replace(b'{"source-ref":"3"}\n', b"")


def test_a_line_that_is_being_appended_is_not_torn(tmp_path: Path) -> None:
    """A reader may see the first part of a line before the rest of it."""
    manifest = Manifest(tmp_path / "a.manifest")
    manifest.append(b'{"source-ref":"0"}\n{"source-ref"')
    assert list(manifest.lines()) == [b'{"source-ref":"0"}\n']
    draft = manifest.draft({"0": None}, "folded")
    assert draft is not None
    manifest.append(b':"1"}\n')
    assert draft.finish()
    assert manifest.path.read_bytes() == b'{"source-ref":"1"}\n'


def test_lines_are_found_and_left_out_however_they_are_written(tmp_path: Path) -> None:
    manifest = Manifest(tmp_path / "a.manifest")
    odd = b'{"anomaly-label": 0, "source-ref": "d\\/1"}\n'
    text = b'{"source-ref":"x"}\n' * 100_000 + odd + b' { "source-ref" : "d/2" }\n' + b"no json\n"
    manifest.path.write_bytes(text)
    place = manifest.find("d/2")
    assert place == text.index(b" { ")
    for at in (place, 0, 1, place + 1, 10_000_000):
        assert manifest.line("d/2", at) == b' { "source-ref" : "d/2" }\n'
        assert manifest.line("d/3", at) is None
    manifest.rewrite({"d/1": None, "d/2": None})
    assert manifest.path.read_bytes() == b'{"source-ref":"x"}\n' * 100_000 + b"no json\n"


def test_the_sidecar_decides_what_is_right(rig: Rig) -> None:
    """Not the label, which a person may have changed by hand."""
    rig.start()
    shown = frame(1)
    rig.recorder.look(shown, inspection(shown, anomalous=True), _mask)
    rig.settled()
    manifest = rig.path / "a.manifest"
    manifest.write_text(manifest.read_text().replace('"anomaly-label":1', '"anomaly-label":0'))
    assert rig.recorder.review("a", _names(rig)[0], "right", "").label == "anomaly"
