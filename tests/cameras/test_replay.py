"""Replaying a recording, and rendered parts: what goes beyond the contract of all cameras."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any, List

import numpy as np
import pytest
from PIL import Image
from support.cameras.driving import capture, capture_all, play
from support.cameras.pattern import number_in, picture
from support.cameras.replay import START_NS, record
from support.clocks import Steps

from edge_agent.cameras.pace import Pace
from edge_agent.cameras.replay import ReplayCamera, ReplaySettings
from edge_agent.cameras.sample import SampleCamera, SampleSettings
from edge_agent.clock import SystemClock
from edge_agent.errors import CameraError, CameraNotConnectedError
from edge_agent.sample import part_stream


def _camera(path: Path, clock: Any = None, **settings: Any) -> ReplayCamera:
    return ReplayCamera(ReplaySettings(path=str(path), **settings), clock or SystemClock())


def _numbers(camera: ReplayCamera) -> List[int]:
    return [number_in(frame.pixels, 0) for frame in play(camera).frames]


@pytest.mark.parametrize(("speed", "factor"), [(1.0, 1.0), (2.0, 0.5), (0.5, 2.0), (0.0, 0.0)])
def test_frames_keep_their_distance_in_time(tmp_path: Path, speed: float, factor: float) -> None:
    times = [0.0, 0.1, 0.15, 3.15, 3.15]
    for number, seconds in enumerate(times):
        record(tmp_path / f"{number}.png", number, START_NS + round(seconds * 1e9))
    everything = play(_camera(tmp_path, Steps(), speed=speed))
    shown = [frame.captured_ns / 1e9 for frame in everything.frames]
    assert np.diff(shown) == pytest.approx(np.diff(times) * factor, abs=0.001)


def test_directories_below_and_several_cameras_make_one_order(tmp_path: Path) -> None:
    for number, (directory, camera) in enumerate([("2", "b"), ("1", "a"), ("1", "b"), ("2", "a")]):
        record(tmp_path / directory / f"{number}.png", number, START_NS + number * 1000, camera)
    assert _numbers(_camera(tmp_path, speed=0)) == [0, 1, 2, 3]
    assert _numbers(_camera(tmp_path, speed=0, camera="a")) == [1, 3]
    assert _numbers(_camera(tmp_path, speed=0, camera="c")) == []


@pytest.mark.parametrize(
    "sidecar", [None, b"", b"no json", b"[]", b"{}", b'{"camera": "a", "captured_at": 5}', b"[" * 100_000]
)
def test_images_without_a_readable_sidecar_come_last_by_name(tmp_path: Path, sidecar: Any) -> None:
    record(tmp_path / "z.png", 0, START_NS)
    for number, name in ((1, "a"), (2, "b")):
        Image.fromarray(picture(number)).save(tmp_path / f"{name}.png")
        if sidecar is not None:
            (tmp_path / f"{name}.json").write_bytes(sidecar)
    assert _numbers(_camera(tmp_path)) == [0, 1, 2]


def test_a_damaged_image_costs_one_error_and_the_next_one_comes(tmp_path: Path) -> None:
    for number in range(3):
        record(tmp_path / f"{number}.png", number, START_NS + number * 1000)
    (tmp_path / "1.png").write_bytes((tmp_path / "1.png").read_bytes()[:80])
    everything = play(_camera(tmp_path))
    assert [number_in(frame.pixels, 0) for frame in everything.frames] == [0, 2]
    assert [error.subject for error in everything.errors] == [str(tmp_path / "1.png")]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("no json", "line 2: is not JSON"),
        ("[1]", "line 2: has no `source-ref`"),
        ('{"source-ref": ""}', "line 2: has no `source-ref`"),
        (
            '{"source-ref": "s3://bucket/a.png"}',
            "line 2: source-ref: is 's3://bucket/a.png', which is not a local file",
        ),
    ],
)
def test_a_line_that_names_no_image_is_named(tmp_path: Path, line: str, words: str) -> None:
    manifest = tmp_path / "recorded.manifest"
    manifest.write_text(json.dumps({"source-ref": "a.png"}) + "\n" + line + "\n")
    with pytest.raises(CameraError, match=words) as caught:
        _camera(manifest).open()
    assert not isinstance(caught.value, CameraNotConnectedError)


def test_a_manifest_keeps_its_order_and_the_sidecars_give_the_times(tmp_path: Path) -> None:
    for number, seconds in ((0, 5), (1, 2), (2, 4)):
        record(tmp_path / "images" / f"{number}.png", number, START_NS + seconds * 10**9)
    manifest = tmp_path / "recorded.manifest"
    manifest.write_text("".join(json.dumps({"source-ref": f"images/{number}.png"}) + "\n\n" for number in range(3)))
    everything = play(_camera(manifest, Steps()))
    assert [number_in(frame.pixels, 0) for frame in everything.frames] == [0, 1, 2]
    # What lies before the frame that was shown is due at once.
    assert np.diff([frame.captured_ns / 1e9 for frame in everything.frames]) == pytest.approx([0, 2], abs=0.001)


def test_who_is_late_moves_the_later_ones_and_none_comes_too_soon() -> None:
    clock = Steps()
    pace = Pace(clock)
    given = []
    for late in (0.0, 0.03, 0.5, 0.0, 0.0):
        clock.sleep(late)
        assert pace.wait(100_000_000, 1.0)
        given.append(round(clock.now_ns / 1e9, 3))
    assert given == [0.0, 0.1, 0.6, 0.6, 0.7]
    assert not pace.wait(100_000_000, 0.04)
    assert pace.wait(100_000_000, 0.06)
    assert round(clock.now_ns / 1e9, 3) == 0.8


def test_parts_come_at_their_rate_size_and_share() -> None:
    clock = Steps()
    settings = SampleSettings(rate=4.0, seed=3, anomalous_share=1.0, count=3, width=320, height=200)
    camera = SampleCamera(settings, clock)
    frames = play(camera).frames
    assert [frame.pixels.shape for frame in frames] == [(200, 320, 3)] * 3
    assert np.diff([frame.captured_ns / 1e9 for frame in frames]) == pytest.approx([0.25, 0.25])
    parts = list(itertools.islice(part_stream(3, anomalous_share=1.0), 3))
    assert all(part.is_anomalous for part in parts)
    assert [frame.source for frame in frames] == [f"part-{part.seed}" for part in parts]
    assert not any(part.is_anomalous for part in itertools.islice(part_stream(3, anomalous_share=0.0), 3))


def test_each_opening_begins_the_sequence_anew() -> None:
    camera = SampleCamera(SampleSettings(rate=0, seed=9, count=2), SystemClock())
    first = [frame.source for frame in play(camera).frames]
    assert [frame.source for frame in play(camera).frames] == first
    other = SampleCamera(SampleSettings(rate=0, seed=10, count=2), SystemClock())
    other.open()
    assert capture(other).source not in first
    assert len(capture_all(other).frames) == 1
