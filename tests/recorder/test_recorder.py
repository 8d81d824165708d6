"""What is recorded, what it looks like on disk, what goes again, and that the books say so."""

from __future__ import annotations

import errno
import json
import os
import threading
from pathlib import Path
from typing import Any, Callable, Dict

import jsonschema
import numpy as np
import pytest
from PIL import Image
from recorder.conftest import SECOND_NS, START_NS, Rig, frame, inspection
from support.waiting import until

from edge_agent.errors import ConfigError, ServerFaultError
from edge_agent.recorder.store import Store
from edge_agent.training.ground_truth import read_ground_truth
from edge_agent.training.pictures import read_mask

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "inspection.schema.json").read_text())
DAY_NS = 86_400 * SECOND_NS


def test_an_image_its_sidecar_and_its_line(rig: Rig) -> None:
    rig.start()
    rig.give(7, anomalous=True, confidence=0.97)
    rig.settled()
    name = "20261121/14/20261121T140537.000000Z_a_7"
    assert rig.files() == [rig.path / f"{name}.json", rig.path / f"{name}.png"]
    assert np.array_equal(np.asarray(Image.open(rig.path / f"{name}.png")), frame(7).pixels)
    document = json.loads((rig.path / f"{name}.json").read_text())
    jsonschema.validate(document, SCHEMA)
    assert (document["sequence"], document["image"]["source"]) == (7, "part-7")
    assert rig.lines() == [
        {
            "source-ref": f"{name}.png",
            "anomaly-label": 1,
            "anomaly-label-metadata": {
                "class-name": "anomaly",
                "confidence": 0.97,
                "human-annotated": "no",
                "creation-date": "2026-11-21T14:05:37.000000",
                "job-name": "edge-agent/Model",
                "type": "groundtruth/image-classification",
            },
            "recorded-for": "rule everything",
        }
    ]


def _mask(size: int = 64) -> Any:
    """White, with a red corner."""
    mask = np.full((size, size, 3), 255, np.uint8)
    mask[:8, :8] = (255, 0, 0)
    return mask


def test_the_mask_of_an_anomaly_labels_its_pixels(rig: Rig) -> None:
    rig.start()
    rig.give(1, anomalous=True, mask=_mask())
    rig.give(2, anomalous=False, mask=_mask())
    rig.give(3, anomalous=True, mask=_mask(32))
    rig.settled()
    rig.recorder.ask("a", 1, "normal")
    rig.give(4, anomalous=True, mask=_mask())
    rig.settled()
    assert [line.get("anomaly-mask-ref", "")[-7:] for line in rig.lines()] == ["_1.mask", "", "", ""]
    examples = read_ground_truth(rig.path / "a.manifest").examples
    classes = read_mask(examples[0], ["background", "scratch"], (64, 64))
    assert (classes[:8, :8] == 1).all()
    assert classes.sum() == 64
    # Each pixel has the number of its class in the line's map of colours.
    with Image.open(next(rig.path.rglob("*.mask"))) as written:
        assert written.mode == "P"
        assert (np.asarray(written) == classes).all()
    assert sum(path.stat().st_size for path in rig.files()) == rig.recorder.status()["bytes"]
    rig.stop()
    again = Rig(rig.path)
    again.start(masks=False)
    assert again.counts()["found"] == 4
    assert sum(path.stat().st_size for path in again.files()) == again.recorder.status()["bytes"]
    again.give(5, anomalous=True, mask=_mask())
    again.settled()
    assert "anomaly-mask-ref" not in again.lines()[-1]
    again.stop()


def test_jpeg_is_small_and_near(rig: Rig) -> None:
    rig.start(format="jpeg", quality=95)
    rig.give(40)
    rig.settled()
    image = np.asarray(Image.open(rig.path / rig.lines()[0]["source-ref"]))
    assert rig.lines()[0]["source-ref"].endswith(".jpg")
    assert np.abs(image.astype(int) - 120).max() <= 2


def test_rules_every_nth_and_the_rest(rig: Rig) -> None:
    rules = {"defects": {"verdict": "anomalous"}, "unsure": {"verdict": "uncertain", "uncertain_below": 0.6}}
    rig.start(rules=rules, every=5, lanes=["a"])
    for number in range(1, 11):
        rig.give(number, anomalous=number in (2, 5), confidence=0.5 if number in (3, 5) else 0.9)
        rig.give(number, "b")
    counts = rig.settled()
    assert [(line["recorded-for"]) for line in rig.lines()] == ["rule defects", "rule unsure", "rule defects", "every"]
    assert rig.numbers() == [2, 3, 5, 10]
    assert (counts["offered"], counts["recorded"], counts["skipped"], counts["kept"]) == (10, 4, 6, 4)
    assert rig.counts("b") == {}


def test_what_was_asked_for_comes_first_and_bears_a_persons_label(rig: Rig) -> None:
    rig.start(rules={})
    assert rig.recorder.ask("a", 2, "normal") == 2
    assert rig.recorder.ask("a", 1, None) == 3
    for number in range(1, 6):
        rig.give(number, anomalous=True)
    rig.settled()
    assert rig.numbers() == [1, 2, 3]
    labels = [line["anomaly-label-metadata"] for line in rig.lines()]
    assert [(one["class-name"], one["human-annotated"]) for one in labels] == [
        ("normal", "yes"),
        ("normal", "yes"),
        ("anomaly", "no"),
    ]
    assert [line["anomaly-label"] for line in rig.lines()] == [0, 0, 1]


def test_without_a_directory_nothing_is_recorded(rig: Rig) -> None:
    rig.give(1)
    upload = {"state": "off", "failed": 0, "bytes": 0, "lanes": {}}
    assert rig.recorder.status() == {"state": "off", "upload": upload, "lanes": {}}
    with pytest.raises(ConfigError, match=r"recorder: is not configured"):
        rig.recorder.ask("a", 1, None)
    rig.start(lanes=["b"])
    with pytest.raises(ConfigError, match=r"lane a: is not recorded"):
        rig.recorder.ask("a", 1, None)


def _size(rig: Rig) -> int:
    return sum(path.stat().st_size for path in rig.files())


def test_bytes_take_the_oldest_normal_ones_and_anomalies_last(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.start()
    for number in range(1, 21):
        rig.give(number, anomalous=number <= 4)
    rig.settled()
    one = _size(rig) // 20
    room = 10 * one + one // 2
    monkeypatch.setattr("edge_agent.recorder.settings._MIN_BYTES", 1)
    # Smaller than before: what is too much goes at once.
    rig.start(bytes=room)
    until(lambda: rig.counts()["kept"] <= 10)
    assert rig.numbers()[:4] == [1, 2, 3, 4]
    assert rig.numbers()[4:] == list(range(21 - len(rig.numbers()[4:]), 21))
    assert _size(rig) == rig.recorder.status()["bytes"] <= room
    for number in range(21, 41):
        rig.give(number, anomalous=True)
    counts = rig.settled()
    # No normal one is left, and the oldest anomalies have gone.
    assert rig.numbers() == list(range(41 - counts["kept"], 41))
    assert counts["kept"] >= 9
    rig.give(41)
    counts = rig.settled()
    assert counts["dropped"] == {"no_room": 1}
    assert counts["removed"] == {"bytes": counts["found"] + counts["recorded"] - counts["kept"] - 20, "left": 20}
    assert _size(rig) == rig.recorder.status()["bytes"] <= room
    assert len(rig.files()) == 2 * counts["kept"]


class Later:
    """A clock whose wall can be set."""

    def __init__(self) -> None:
        self.wall = START_NS

    def wall_ns(self) -> int:
        return self.wall

    def monotonic_ns(self) -> int:
        return 0


def test_age_takes_all_and_empty_directories_go(tmp_path: Path) -> None:
    clock = Later()
    rig = Rig(tmp_path / "recorded", clock)
    rig.start(days=2)
    for number in range(4):
        rig.give(number, anomalous=True, at_ns=START_NS - 3 * DAY_NS + number * DAY_NS)
    counts = rig.settled()
    # The next image is the one that finds the one before too old.
    assert counts["recorded"] == 4
    assert rig.numbers() == [1, 2, 3]
    clock.wall += 3 * DAY_NS
    rig.give(9, at_ns=clock.wall)
    counts = rig.settled()
    assert rig.numbers() == [9]
    assert counts["removed"] == {"age": 4}
    assert len(list(rig.path.iterdir())) == 3  # the lock, the manifest, one day
    rig.stop()


def test_a_full_disk_takes_normal_images_and_leaves_anomalies(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    free = {"bytes": 10_000_000}
    monkeypatch.setattr(Store, "free_bytes", lambda _store: free["bytes"])
    rig.start(free_bytes=5_000_000)
    for number in range(1, 7):
        rig.give(number, anomalous=number % 2 == 0)
    rig.settled()
    free["bytes"] = 4_999_999
    rig.give(7)
    counts = rig.settled()
    assert (counts["dropped"], counts["removed"]) == ({"disk_full": 1}, {"disk": 3})
    assert rig.numbers() == [2, 4, 6]
    rig.give(8, anomalous=True)
    counts = rig.settled()
    assert rig.numbers() == [4, 6, 8]
    assert counts["removed"] == {"disk": 4}
    free["bytes"] = 0
    rig.give(9, anomalous=True)
    assert rig.settled()["dropped"] == {"disk_full": 2}
    assert rig.numbers() == [4, 6, 8]


def test_a_full_queue_drops_and_gives_the_order_back(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    go, taken = threading.Event(), threading.Event()
    draft = Store.draft

    def slow(store: Store, *arguments: Any) -> Any:
        taken.set()
        assert go.wait(20)
        return draft(store, *arguments)

    monkeypatch.setattr(Store, "draft", slow)
    rig.start(queue=2, rules={}, every=1)
    rig.give(1)
    assert taken.wait(20)
    rig.recorder.ask("a", 4, "anomaly")
    for number in range(2, 7):
        rig.give(number)
    assert rig.counts()["dropped"] == {"full": 3}
    assert rig.counts()["waiting"] == 3
    go.set()
    rig.settled()
    rig.give(7)
    rig.give(8)
    counts = rig.settled()
    assert rig.numbers() == [1, 2, 3, 7, 8]
    assert [line["anomaly-label"] for line in rig.lines()] == [0, 1, 1, 1, 1]
    assert (counts["offered"], counts["recorded"]) == (8, 5)


def test_the_picture_is_that_of_the_frame_though_its_slot_is_used_again(rig: Rig) -> None:
    rig.start()
    for number in range(1, 30):
        shown = frame(number)
        rig.recorder.look(shown, inspection(shown), lambda: None)
        shown.pixels.flags.writeable = True
        shown.pixels[...] = 255
    rig.settled()
    for number, line in enumerate(rig.lines(), start=1):
        assert np.asarray(Image.open(rig.path / line["source-ref"]))[0, 0, 0] == 3 * number


def _unfinished(rig: Rig) -> Dict[str, Callable[[], Any]]:
    """What a kill or a power cut leaves."""
    image = rig.path / rig.lines()[1]["source-ref"]
    manifest = rig.path / "a.manifest"
    return {
        "a draft": lambda: image.with_name(".draft.png").write_bytes(b"x"),
        "a draft of a mask": lambda: image.with_name(".draft.mask").write_bytes(b"x"),
        "an empty mask": lambda: image.with_suffix(".mask").write_bytes(b""),
        "a mask alone": lambda: image.with_name(f"{image.stem}0.mask").write_bytes(b"x"),
        "an empty image": lambda: image.write_bytes(b""),
        "no sidecar": lambda: image.with_suffix(".json").unlink(),
        "an empty sidecar": lambda: image.with_suffix(".json").write_bytes(b""),
        "a sidecar alone": image.unlink,
        "a torn line": lambda: os.truncate(manifest, manifest.stat().st_size - 10),
        "no manifest": manifest.unlink,
    }


@pytest.mark.parametrize(
    ("what", "left"),
    [
        ("a draft", [1, 2, 3]),
        ("a draft of a mask", [1, 2, 3]),
        ("an empty mask", [1, 3]),
        ("a mask alone", [1, 2, 3]),
        ("an empty image", [1, 3]),
        ("no sidecar", [1, 3]),
        ("an empty sidecar", [1, 3]),
        ("a sidecar alone", [1, 3]),
        ("a torn line", [1, 2, 3]),
        ("no manifest", [1, 2, 3]),
    ],
)
def test_what_a_kill_leaves_is_put_right(rig: Rig, what: str, left: Any) -> None:
    rig.start()
    for number in (1, 2, 3):
        rig.give(number, anomalous=number == 3, mask=_mask())
    rig.settled()
    lines = rig.lines()
    rig.stop()
    _unfinished(rig)[what]()
    again = Rig(rig.path)
    again.start()
    assert sorted(again.numbers()) == left
    counts = again.counts()
    assert (counts["found"], counts["kept"]) == (len(left), len(left))
    assert len(again.files()) == 2 * len(left) + 1
    assert again.lines()[-1]["anomaly-mask-ref"] == lines[-1]["anomaly-mask-ref"]
    labels = {line["source-ref"][-5]: line["anomaly-label"] for line in again.lines()}
    assert labels == {str(number): int(number == 3) for number in left}
    again.stop()


def test_what_is_not_ours_stays(rig: Rig) -> None:
    rig.start()
    rig.give(1)
    rig.settled()
    rig.stop()
    folder = (rig.path / rig.lines()[0]["source-ref"]).parent
    notes = [rig.path / "notes.txt", folder / "notes.json", folder / "mine.png", rig.path / "mine" / "1.png"]
    for note in notes:
        note.parent.mkdir(exist_ok=True)
        note.write_bytes(b"mine")
    with (rig.path / "a.manifest").open("a") as manifest:
        manifest.write('{"source-ref": "mine/1.png", "anomaly-label": 1}\nno json\n')
    again = Rig(rig.path, clock := Later())
    clock.wall += 10 * DAY_NS
    again.start(days=1)
    until(lambda: again.counts()["removed"] == {"age": 1})
    assert all(note.read_bytes() == b"mine" for note in notes)
    assert (rig.path / "a.manifest").read_text() == '{"source-ref": "mine/1.png", "anomaly-label": 1}\nno json\n'
    again.stop()


def test_one_directory_is_one_recorders(rig: Rig) -> None:
    rig.start()
    other = Rig(rig.path)
    other.recorder.apply(rig.recorder._now.settings)  # type: ignore[union-attr]
    until(lambda: other.recorder.status()["state"] == "trouble")
    assert "is another recorder's" in other.recorder.status()["trouble"]
    other.give(1)
    assert other.settled()["dropped"] == {"disk_failed": 1}
    rig.stop()
    other.give(2)
    assert other.settled()["recorded"] == 1
    other.stop()


@pytest.mark.parametrize(("number", "cause"), [(errno.ENOSPC, "disk_full"), (errno.EIO, "disk_failed")])
def test_a_disk_that_fails_costs_images_and_leaves_nothing_half(
    rig: Rig, number: int, cause: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.start()
    broken = {"at": "append"}
    write = os.write
    rename = Path.rename

    def fail(at: str, work: Any, *arguments: Any) -> Any:
        if broken["at"] == at:
            raise OSError(number, os.strerror(number))
        return work(*arguments)

    monkeypatch.setattr(os, "write", lambda *arguments: fail("append", write, *arguments))
    monkeypatch.setattr(Path, "rename", lambda *arguments: fail("rename", rename, *arguments))
    rig.give(1)
    assert rig.settled()["dropped"] == {cause: 1}
    until(lambda: rig.recorder.status()["state"] == "trouble")
    broken["at"] = "rename"
    rig.give(2)
    assert rig.settled()["dropped"] == {cause: 2}
    assert rig.files() == []
    broken["at"] = ""
    rig.give(3)
    assert rig.settled()["recorded"] == 1
    until(lambda: rig.recorder.status()["state"] == "working")
    assert rig.numbers() == [3]


def test_another_directory_takes_over_and_the_books_go_on(rig: Rig, tmp_path: Path) -> None:
    rig.start()
    for number in (1, 2):
        rig.give(number)
    rig.settled()
    first, rig.path = rig.path, tmp_path / "other"
    rig.start()
    rig.give(3)
    counts = rig.settled()
    assert (counts["recorded"], counts["kept"], counts["removed"]) == (3, 1, {"left": 2})
    assert rig.numbers() == [3]
    rig.path = first
    rig.start()
    assert rig.counts()["found"] == 2
    rig.path = tmp_path / "other"
    rig.recorder.apply(type(rig.recorder._now.settings)())  # type: ignore[union-attr]
    assert rig.recorder.status()["state"] == "off"
    assert rig.counts()["kept"] == 0


def test_a_fault_of_ours_stops_the_recorder_alone(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_store: Store, *_arguments: Any) -> Any:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(Store, "draft", fail)
    rig.start()
    rig.give(1)
    until(rig.recorder.faulty)
    rig.give(2)
    assert rig.counts()["dropped"] == {"internal": 1, "stopped": 1}
    assert "recorder: stopped by an internal error" in caplog.text


def test_a_mask_that_cannot_be_had_costs_the_mask_alone(rig: Rig) -> None:
    def refuse() -> Any:
        raise ServerFaultError("Model", "the mask has 7 bytes")

    def fail() -> Any:
        raise RuntimeError("a fault of ours")

    rig.start()
    shown = frame(1)
    rig.recorder.look(shown, inspection(shown, anomalous=True), refuse)
    assert rig.settled()["recorded"] == 1
    with pytest.raises(RuntimeError):
        rig.recorder.look(shown, inspection(shown, anomalous=True), fail)
    assert rig.settled()["dropped"] == {"internal": 1}


def test_lanes_with_odd_names_stay_inside(rig: Rig) -> None:
    rig.start()
    for lane in ("..", ".", "a_1", "a.manifest"):
        rig.give(1, lane)
        rig.settled(lane)
        assert rig.numbers(lane) == [1]
    assert {path.name for path in rig.path.parent.iterdir()} == {rig.path.name}
    rig.stop()
    again = Rig(rig.path)
    again.start()
    assert all(again.counts(lane)["found"] == 1 for lane in ("..", ".", "a_1", "a.manifest"))
    again.stop()
