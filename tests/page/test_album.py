"""What the page keeps: bounded, and nothing that an inspection would wait for while nobody looks."""

from __future__ import annotations

import io
from typing import List, Optional

import numpy as np
import pytest
from page.conftest import make_frame, make_inspection, make_mask
from PIL import Image
from support.clocks import Steps

from edge_agent.frame import Pixels
from edge_agent.inspection import Anomaly
from edge_agent.page.album import SCORES, STRIP, Albums, Developed, Picture
from edge_agent.page.darkroom import develop


class Masks:
    """Counts how often a mask was copied."""

    def __init__(self) -> None:
        self.copied = 0

    def __call__(self) -> Optional[Pixels]:
        self.copied += 1
        return make_mask()


@pytest.fixture
def clock() -> Steps:
    return Steps()


@pytest.fixture
def albums(clock: Steps) -> Albums:
    return Albums(clock)


def test_no_picture_is_copied_while_nobody_looks(albums: Albums, clock: Steps) -> None:
    album, masks = albums.of("a"), Masks()
    album.look(make_frame(1), make_inspection(1), masks)
    assert (album.picture(), masks.copied) == (None, 0)
    album.watch(0)
    album.look(make_frame(2), make_inspection(2), masks)
    picture = album.picture()
    assert picture is not None
    assert (picture.sequence, masks.copied) == (2, 1)
    album.developed(2, Developed(b"f", b"m", b"t"))
    clock.sleep(11)
    album.look(make_frame(3), make_inspection(3), masks)
    assert (album.picture(), masks.copied) == (None, 1)
    assert [entry["sequence"] for entry in album.since(0, STRIP)["entries"]] == [1, 2, 3]


def test_one_picture_waits_at_a_time(albums: Albums) -> None:
    album, masks = albums.of("a"), Masks()
    album.watch(0)
    for sequence in range(1, 6):
        album.look(make_frame(sequence), make_inspection(sequence), masks)
    picture = album.picture()
    assert picture is not None
    assert (picture.sequence, masks.copied) == (1, 1)


def test_no_more_pictures_are_copied_than_are_wanted(albums: Albums, clock: Steps) -> None:
    album, masks = albums.of("a"), Masks()
    clock.sleep(1)
    album.watch(0.5)
    for sequence in range(1, 11):  # ten a second
        album.look(make_frame(sequence), make_inspection(sequence), masks)
        picture = album.picture()
        if picture is not None:
            album.developed(picture.sequence, Developed(b"f", b"", b"t"))
        clock.sleep(0.1)
    assert (masks.copied, album.since(0, STRIP)["pictures"]) == (3, [1, 5, 9])


def test_a_line_as_quick_as_the_pace_has_a_picture_of_each_part(albums: Albums, clock: Steps) -> None:
    assert _copied(albums, clock, [0.27, 0.23] * 5, anomalous=False) == list(range(1, 11))


def test_anomalous_parts_get_more_pictures(albums: Albums, clock: Steps) -> None:
    assert _copied(albums, clock, [0.1] * 10, anomalous=True) == list(range(1, 11))
    assert _copied(albums, clock, [0.1] * 10, anomalous=False) == [1, 3, 5, 7, 9]


def _copied(albums: Albums, clock: Steps, gaps: List[float], *, anomalous: bool) -> List[int]:
    """Parts that got a picture, of those with these gaps, at four pictures a second."""
    album = albums.of(f"{anomalous}")
    clock.sleep(1)
    album.watch(0.25)
    for sequence, gap in enumerate(gaps, 1):
        album.look(make_frame(sequence), make_inspection(sequence, anomalous=anomalous), lambda: None)
        picture = album.picture()
        if picture is not None:
            album.developed(picture.sequence, Developed(b"f", b"", b"t"))
        clock.sleep(gap)
    return list(album.since(0, STRIP)["pictures"])


def test_a_copied_picture_is_not_the_ring_of_frames(albums: Albums) -> None:
    album, frame = albums.of("a"), make_frame(1, width=4096, height=3000)
    album.watch(0)
    album.look(frame, make_inspection(1), lambda: None)
    picture = album.picture()
    assert picture is not None
    assert max(picture.pixels.shape) <= 2 * 960
    frame.pixels[:] = 0
    assert (picture.pixels == 128).all()


def test_memory_is_bounded_however_many_parts_come(albums: Albums) -> None:
    album = albums.of("a")
    for sequence in range(1, 2 * SCORES):
        album.look(make_frame(sequence, 64, 64), make_inspection(sequence), lambda: None)
        album.developed(sequence, Developed(b"frame", b"mask", b"thumbnail"))
    whole = album.since(0, STRIP)
    assert len(whole["entries"]) == STRIP
    assert whole["entries"][-1]["sequence"] == whole["newest"] == 2 * SCORES - 1
    assert len(whole["pictures"]) == STRIP
    assert len(album.scores()) == SCORES
    kept = [album.one(sequence) for sequence in whole["pictures"]]
    assert sum(1 for one in kept if one is not None and one.frame) == 6
    assert all(one is not None and one.thumbnail for one in kept)


def test_only_what_is_new_is_told(albums: Albums) -> None:
    album = albums.of("a")
    album.look(make_frame(1), make_inspection(1), lambda: None)
    seen = album.since(0, STRIP)["number"]
    assert album.since(seen, STRIP)["entries"] == []
    album.look(make_frame(5), make_inspection(5, anomalous=True, confidence=0.75), lambda: None)
    [entry] = album.since(seen, STRIP)["entries"]
    assert (entry["sequence"], entry["anomalous"], entry["score"]) == (5, True, 0.75)
    assert [one["name"] for one in entry["classes"]] == ["scratch"]


def test_the_score_of_a_normal_part_is_what_its_confidence_leaves(albums: Albums) -> None:
    album = albums.of("a")
    album.look(make_frame(1), make_inspection(1, confidence=0.9), lambda: None)
    assert album.scores() == [0.1]


def test_the_course_has_a_line_a_second(albums: Albums, monkeypatch: pytest.MonkeyPatch, clock: Steps) -> None:
    walls: List[int] = [100, 100, 103]
    monkeypatch.setattr(clock, "wall_ns", lambda: walls.pop(0) * 1_000_000_000)
    album = albums.of("a")
    for sequence, total in enumerate((10.0, 30.0, 50.0), 1):
        album.look(make_frame(sequence), make_inspection(sequence, anomalous=sequence == 2, total=total), lambda: None)
    assert album.course(300) == [[100, 2, 1, 20.0, 30.0], [103, 1, 0, 50.0, 50.0]]


BACKGROUND, FIELD = Anomaly("background", 0.9, "#FFFFFF"), Anomaly("field", 0.1, "#2CA02C")


@pytest.mark.parametrize(
    ("anomalies", "mode"),
    [
        ([BACKGROUND, FIELD], "P"),
        ([FIELD, BACKGROUND, FIELD], "P"),
        ([FIELD], "P"),
        ([BACKGROUND], "RGBA"),
        ([], "RGBA"),
    ],
)
def test_a_developed_mask_is_clear_where_nothing_was_found(anomalies: List[Anomaly], mode: str) -> None:
    """Whether its colours are those of the classes or others."""
    developed = develop(Picture(1, make_frame(1).pixels, make_mask(), anomalies))
    image = Image.open(io.BytesIO(developed.mask))
    assert image.mode == mode
    mask = np.asarray(image.convert("RGBA"))
    assert mask.shape == (240, 320, 4)
    assert (mask[30:40, 40:60] == (0x2C, 0xA0, 0x2C, 255)).all()
    assert int((mask[:, :, 3] > 0).sum()) == 10 * 20
    frame = np.asarray(Image.open(io.BytesIO(developed.frame)))
    assert frame.shape == (240, 320, 3)
    assert abs(frame.astype(int) - 128).max() <= 2
    small = np.asarray(Image.open(io.BytesIO(developed.thumbnail))).astype(int)
    assert max(small.shape) == 120
    assert small[13, 18, 1] - small[13, 18, 0] > 20  # the field, over the grey


@pytest.mark.parametrize("mask", [None, np.full((60, 80, 3), 255, np.uint8)])
def test_a_part_without_a_finding_has_no_mask(mask: Optional[Pixels]) -> None:
    assert develop(Picture(1, make_frame(1).pixels, mask, [BACKGROUND])).mask == b""


def test_a_large_picture_is_made_small() -> None:
    developed = develop(Picture(1, make_frame(1, 1920, 1080).pixels, make_mask(480, 270), [BACKGROUND, FIELD]))
    assert Image.open(io.BytesIO(developed.frame)).size == (960, 540)
    assert Image.open(io.BytesIO(developed.mask)).size == (960, 540)
