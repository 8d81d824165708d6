"""What was recorded goes to S3: every image once by its key, in order, whatever is between; and the books say so."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import tracemalloc
from pathlib import Path
from typing import Any, Dict

import numpy as np
import pytest
from recorder.conftest import SECOND_NS, START_NS, Impatient, Rig
from recorder.uploads import UPLOAD, books, numbers, sent, upload_of
from support.s3_loopback import S3
from support.waiting import until

from edge_agent.recorder import RecorderSettings, Verdict
from edge_agent.recorder.names import Kept
from edge_agent.recorder.retention import Retention
from edge_agent.recorder.upload.books import UploadBooks
from edge_agent.recorder.upload.queue import UploadQueue
from edge_agent.recorder.upload.settings import UploadSettings
from edge_agent.training.ground_truth import read_ground_truth
from edge_agent.training.locations import Locations

pytest.importorskip("boto3")


def _mask() -> Any:
    mask = np.full((64, 64, 3), 255, np.uint8)
    mask[:8, :8] = (255, 0, 0)
    return mask


def test_an_image_its_mask_its_sidecar_and_last_its_line(rig: Rig, s3: S3) -> None:
    rig.start(upload=UPLOAD)
    rig.give(7, anomalous=True, mask=_mask())
    counts = sent(rig)
    assert counts == {"found": 0, "wanted": 1, "uploaded": 1, "waiting": 0, "lost": {}}
    stem = "press-7/20261121/14/20261121T140537.000000Z_a_7"
    assert s3.put == [f"{stem}.png", f"{stem}.mask", f"{stem}.json", f"{stem}.manifest"]
    objects, local = s3.buckets["parts"], rig.path / "20261121/14/20261121T140537.000000Z_a_7"
    for suffix in (".png", ".mask", ".json"):
        assert objects[stem + suffix] == local.with_suffix(".000000Z_a_7" + suffix).read_bytes()
    [written] = rig.lines()
    assert json.loads(objects[f"{stem}.manifest"]) == {
        **written,
        "source-ref": f"s3://parts/{stem}.png",
        "anomaly-mask-ref": f"s3://parts/{stem}.mask",
    }
    assert (upload_of(rig)["state"], upload_of(rig)["trouble"], upload_of(rig)["failed"]) == ("working", None, 0)
    assert upload_of(rig)["bytes"] == sum(len(content) for content in objects.values())


def test_the_lines_in_the_bucket_are_a_manifest_to_train_with(rig: Rig, s3: S3, tmp_path: Path) -> None:
    s3.buckets["my-recorded-parts"] = {}
    rig.start(upload={"bucket": "my-recorded-parts", "prefix": "edge-agent/press-7"})
    for number in range(1, 5):
        rig.give(number, anomalous=number == 3, mask=_mask())
    sent(rig)
    # The first two of the three commands that the page has for this; the third one is training's.
    page = (Path(__file__).parents[2] / "docs" / "recorder.md").read_text()
    fetch, join, train = page.split("together are a manifest")[1].split("```")[1].strip().splitlines()
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    subprocess.run(["/bin/sh", "-ec", f"{fetch}\n{join}"], cwd=str(tmp_path), env=environment, check=True)
    assert train.startswith("edge-agent train --manifest parts.manifest ")
    manifest = tmp_path / "parts.manifest"
    truth = read_ground_truth(manifest, Locations(manifest.parent, cache=tmp_path / "cache"))
    assert sorted(example.image.name[-5] for example in truth.examples) == ["1", "2", "3", "4"]
    assert all(example.image.is_file() for example in truth.examples)
    for example in truth.examples:
        assert example.is_anomalous == (example.mask is not None) == (example.image.name[-5] == "3")


def test_rules_and_what_a_person_asked_for(rig: Rig, s3: S3) -> None:
    rig.start(upload={**UPLOAD, "rules": {"defects": {"verdict": "anomalous"}}})
    for number in range(1, 6):
        rig.give(number, anomalous=number in (2, 4))
    rig.settled()
    rig.recorder.ask("a", 1, "normal")
    rig.give(6)
    counts = sent(rig)
    assert numbers(s3) == [2, 4, 6]
    assert (counts["wanted"], counts["uploaded"], rig.counts()["recorded"]) == (3, 3, 6)


def test_what_waits_is_on_disk_for_the_next_run(rig: Rig, s3: S3, caplog: pytest.LogCaptureFixture) -> None:
    s3.refusal = (503, "SlowDown", "Please reduce your request rate.")
    rig.start(upload=UPLOAD)
    for number in range(1, 4):
        rig.give(number)
    rig.settled()
    rig.stop()
    assert "recorder: wait on disk for their upload by the next run: 3 images" in caplog.text
    assert numbers(s3) == []
    s3.refusal = None
    again = Rig(rig.path, Impatient())
    again.start(upload=UPLOAD)
    assert sent(again) == {"found": 3, "wanted": 0, "uploaded": 3, "waiting": 0, "lost": {}}
    assert numbers(s3) == [1, 2, 3]
    again.stop()


def test_a_draft_that_a_kill_left_waits_if_its_image_is_there(rig: Rig, s3: S3) -> None:
    s3.refusal = (503, "SlowDown", "Please reduce your request rate.")
    rig.start(upload=UPLOAD)
    for number in (1, 2):
        rig.give(number)
    rig.settled()
    rig.stop()
    s3.refusal = None
    waiting = sorted((rig.path / "upload").glob("*.line"))
    # The second image got its name, and the kill came before its place in the queue did; of a third one there is nothing yet.
    for text, expected in (
        (waiting[1].read_bytes(), [1, 2]),
        (waiting[1].read_bytes().replace(b"_2.", b"_3."), [1, 2]),
    ):
        for file in (rig.path / "upload").glob("*_2.png.line"):
            file.unlink()
        (rig.path / "upload" / ".draft").write_bytes(text)
        again = Rig(rig.path, Impatient())
        again.start(upload=UPLOAD)
        sent(again)
        again.stop()
        assert numbers(s3) == expected
        assert list((rig.path / "upload").iterdir()) == []


#: Where the process is killed: while an object with this ending is on its way, there already or not; "": at any moment.
KILLS = [(".png", False), (".manifest", False), (".manifest", True), ("", False), ("", False)]


class _Moment:
    """When the process is to be killed: some objects after now, with one that has the ending on its way."""

    def __init__(self, s3: S3, ending: str, after: int, *, is_there: bool) -> None:
        self._ending, self._is_there = ending, is_there
        self._s3, self._enough = s3, len(s3.put) + after
        self.came, self.over = threading.Event(), threading.Event()

    def put(self, key: str) -> None:
        if self.came.is_set() or len(self._s3.put) < self._enough or not key.endswith(self._ending):
            return
        self.came.set()
        if self._ending:
            assert self.over.wait(60)
            if not self._is_there:
                raise ConnectionResetError


def test_a_kill_costs_nothing_and_leaves_nothing_twice(rig: Rig, s3: S3) -> None:
    command = [sys.executable, "-m", "recorder.upload_worker", str(rig.path)]
    choices = random.Random(7)
    for round_, (ending, is_there) in enumerate(KILLS):
        moment = _Moment(s3, ending, after=choices.randint(3, 6), is_there=is_there)
        s3.on_put = moment.put
        arguments = [*command, json.dumps({"upload": UPLOAD}), str(1 + 1000 * round_)]
        with subprocess.Popen(arguments, cwd=str(Path(__file__).parents[1])) as process:
            try:
                assert moment.came.wait(60)
                threading.Event().wait(0 if ending else choices.uniform(0.0, 0.05))
            finally:
                process.send_signal(signal.SIGKILL)
                process.wait()
                moment.over.set()
    s3.on_put = lambda _key: None
    rig.start(upload=UPLOAD)
    recorded = rig.numbers()
    assert len(recorded) >= len(KILLS)
    counts = sent(rig)
    assert counts["found"] == counts["uploaded"] > 0
    objects = s3.buckets["parts"]
    assert sorted(numbers(s3)) == sorted(recorded)
    for image in [path for path in rig.files() if path.parent.name != "upload"]:
        assert objects[f"press-7/{image.relative_to(rig.path)}"] == image.read_bytes()
    # Exactly these, and at most the image at hand was sent again after a kill.
    assert len(objects) == 3 * len(recorded)
    assert len(s3.put) - len(objects) <= 3 * len(KILLS)
    assert list((rig.path / "upload").iterdir()) == []


def test_an_image_that_goes_before_it_was_uploaded_is_counted(rig: Rig, s3: S3) -> None:
    clock, day_ns = rig.recorder._clock, 86_400 * SECOND_NS
    s3.refusal = (503, "SlowDown", "Please reduce your request rate.")
    for days, given in ((0, (1, 2)), (1.5, (3, 4)), (2.5, ())):
        clock.wall = START_NS + int(days * day_ns)  # type: ignore[attr-defined]
        rig.start(upload=UPLOAD, days=2)
        for number in given:
            rig.give(number, at_ns=clock.wall_ns() + number * SECOND_NS)
        rig.settled()
    rig.give(5, at_ns=clock.wall_ns())
    assert rig.settled()["removed"] == {"age": 2}
    counts = books(rig)
    assert (counts["wanted"], counts["waiting"], counts["lost"]) == (5, 3, {"removed": 2})
    s3.refusal = None
    assert sent(rig)["uploaded"] == 3
    assert numbers(s3) == [3, 4, 5]


def test_of_those_that_may_go_the_uploaded_ones_go_first(rig: Rig, s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_agent.recorder.settings._MIN_BYTES", 1)
    rules = {"defects": {"verdict": "anomalous"}, "sure": {"min_confidence": 0.95}}
    refuse = (503, "SlowDown", "Please reduce your request rate.")
    s3.refusal = refuse
    rig.start(upload={**UPLOAD, "rules": rules})
    # 1 to 3 wait; 4 to 6 do not, as if they were in S3.
    for number in range(1, 7):
        rig.give(number, confidence=0.99 if number < 4 else 0.9)
    rig.settled()
    one = sum(path.stat().st_size for path in rig.path.rglob("*/*/*.*")) // 6
    rig.start(upload={**UPLOAD, "rules": rules}, bytes=4 * one + one // 2)
    until(lambda: rig.counts()["kept"] <= 4)
    assert rig.numbers() == [1, 2, 3, 6]
    rig.start(upload={**UPLOAD, "rules": rules}, bytes=2 * one + one // 2)
    until(lambda: rig.counts()["kept"] <= 2)
    assert rig.numbers() == [2, 3]
    assert books(rig)["lost"]["removed"] == 1
    s3.refusal = None
    sent(rig)
    assert numbers(s3) == [2, 3]


def test_not_too_many_that_wait_are_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_agent.recorder.retention._PASSED_OVER", 3)
    waiting = {1, 3, 5, 7}
    retention = Retention(RecorderSettings(free_bytes=8000), lambda kept: kept.captured_at_ns in waiting)
    for number in range(1, 9):
        retention.add(Kept(number, "a", str(number), 1000, is_anomalous=False))
    victims = retention.for_free(0, is_anomalous=False)
    assert [kept.captured_at_ns for kept in victims or ()] == [2, 4, 1, 3, 5, 6, 7, 8]


def test_an_image_that_goes_while_it_is_uploaded_is_counted_once(rig: Rig, s3: S3) -> None:
    def take_away(key: str) -> None:
        if key.endswith("_1.png"):
            kept = next(iter(rig.recorder._now.writer._keeper._retention._normal))  # type: ignore[union-attr]
            rig.recorder._now.writer._keeper._remove([kept], "age")  # type: ignore[union-attr]

    s3.on_put = take_away
    rig.start(upload=UPLOAD)
    rig.give(1)
    rig.settled()
    rig.give(2)
    counts = sent(rig)
    assert (counts["wanted"], counts["uploaded"], counts["lost"]) == (2, 1, {"removed": 1})
    assert numbers(s3) == [2]


def test_a_review_sends_its_image_up_again_also_while_it_is_uploaded(rig: Rig, s3: S3) -> None:
    def review(verdict: Verdict) -> None:
        [line] = [line for line in rig.lines() if line["source-ref"].endswith("_1.png")]
        rig.recorder.review("a", line["source-ref"].rpartition("/")[2][:-4], verdict, "")

    def in_s3() -> Dict[str, Any]:
        return json.loads(s3.buckets["parts"][s3.put[-1]])

    def change(key: str) -> None:
        if key.endswith("_1.manifest") and len(s3.put) < 3:
            review("wrong")

    s3.on_put = change
    rig.start(upload=UPLOAD)
    rig.give(1)
    until(lambda: len(s3.put) == 6)
    assert sent(rig) == {"found": 0, "wanted": 1, "uploaded": 1, "waiting": 0, "lost": {}}
    assert (in_s3()["anomaly-label"], in_s3()["review"]["verdict"]) == (1, "wrong")
    review("right")
    assert sent(rig) == {"found": 0, "wanted": 2, "uploaded": 2, "waiting": 0, "lost": {}}
    assert (in_s3()["anomaly-label"], in_s3()["review"]["verdict"]) == (0, "right")
    assert len(s3.buckets["parts"]) == 3


def test_what_a_person_reviewed_goes_up_whatever_the_rules(rig: Rig, s3: S3) -> None:
    rig.start(upload={**UPLOAD, "rules": {"defects": {"verdict": "anomalous"}}})
    rig.give(2)
    rig.settled()
    name = rig.lines()[0]["source-ref"].rpartition("/")[2][:-4]
    rig.recorder.review("a", name, "wrong", "a crack")
    assert sent(rig) == {"found": 0, "wanted": 1, "uploaded": 1, "waiting": 0, "lost": {}}
    assert numbers(s3) == [2]


def test_another_bucket_takes_over_while_it_runs(rig: Rig, s3: S3) -> None:
    s3.refusal = (404, "NoSuchBucket", "The specified bucket does not exist")
    rig.start(upload={**UPLOAD, "bucket": "gone"})
    for number in (1, 2):
        rig.give(number)
    rig.settled()
    until(lambda: upload_of(rig)["state"] == "trouble")
    s3.refusal = None
    rig.start(upload=UPLOAD)
    rig.give(3)
    counts = sent(rig)
    assert counts == {"found": 2, "wanted": 3, "uploaded": 3, "waiting": 0, "lost": {"left": 2}}
    assert numbers(s3) == [1, 2, 3]
    rig.start()
    assert upload_of(rig)["state"] == "off"
    rig.give(4)
    rig.settled()
    rig.start(upload=UPLOAD)
    rig.give(5)
    sent(rig)
    # What was recorded while it was off is not wanted.
    assert numbers(s3) == [1, 2, 3, 5]


def test_a_line_that_a_power_cut_tore_is_that_of_the_manifest(rig: Rig, s3: S3) -> None:
    s3.refusal = (503, "SlowDown", "Please reduce your request rate.")
    rig.start(upload=UPLOAD)
    for number in (1, 2, 3):
        rig.give(number, anomalous=True, mask=_mask())
    rig.settled()
    rig.give(4)
    rig.settled()
    rig.stop()
    files = sorted((rig.path / "upload").glob("*.line"))
    files[0].write_bytes(b"")
    files[1].write_bytes(files[1].read_bytes()[:50])
    files[3].write_bytes(b"{}")
    s3.refusal = None
    again = Rig(rig.path, Impatient())

    def forget(key: str) -> None:
        if key.endswith("_3.json"):
            (rig.path / "a.manifest").write_text("")

    s3.on_put = forget
    again.start(upload=UPLOAD)
    counts = sent(again)
    assert (counts["uploaded"], counts["lost"]) == (3, {"damaged": 1})
    lines = [json.loads(s3.buckets["parts"][key]) for key in s3.put if key.endswith(".manifest")]
    assert [line["recorded-for"] for line in lines] == ["rule everything"] * 3
    assert all(line["anomaly-mask-ref"].startswith("s3://parts/press-7/") for line in lines)
    again.stop()


def test_memory_is_held_for_a_few_however_many_wait(tmp_path: Path) -> None:
    queue = UploadQueue(tmp_path, UploadSettings(), UploadBooks())
    (tmp_path / "upload").mkdir()
    for number in range(5000, 0, -1):
        (tmp_path / "upload" / f"20261121T140530.{number:06d}Z_a_{number}.jpg.line").touch()
    tracemalloc.start()
    try:
        queue.open()
        first = queue.first(10)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert [waiting.reference for waiting in first] == [
        f"20261121/14/20261121T140530.{number:06d}Z_a_{number}.jpg" for number in range(1, 11)
    ]
    # The names alone have 500 kB.
    assert peak < 100_000


def test_the_rate_is_kept_on_average(rig: Rig, s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    # Sending takes no time.
    monkeypatch.setattr(rig.recorder._clock, "monotonic_ns", lambda: 0)
    rig.start(upload={**UPLOAD, "bytes_per_s": 1000})
    for number in (1, 2):
        rig.give(number)
    sent(rig)
    sizes = [len(s3.buckets["parts"][key]) for key in s3.put]
    waits = rig.recorder._clock.waits  # type: ignore[attr-defined]
    # After each object but the last, for as long as its bytes have.
    assert waits == pytest.approx([size / 1000 for size in sizes[:-1]], abs=1e-6)
