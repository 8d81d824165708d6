"""The fast INTER_AREA against OpenCV's own: every bit, whatever the sizes and the picture."""

from __future__ import annotations

import json
import logging
from typing import Tuple

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.packages import make_manifest

from edge_agent.model import area
from edge_agent.model.area import AreaResizer, plan_area
from edge_agent.model.manifest import parse_manifest
from edge_agent.model.preprocess import Preprocessor


def opencv(pixels: np.ndarray, size: Tuple[int, int]) -> np.ndarray:
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def checkers(height: int, width: int) -> np.ndarray:
    """Black and white by turns: averages that are a half more often than not."""
    rows, columns = np.indices((height, width))
    return np.repeat(((rows + columns) % 2).astype(np.uint8)[..., None], 3, axis=2)


@st.composite
def cases(draw: st.DrawFn) -> Tuple[np.ndarray, Tuple[int, int]]:
    height, width = draw(st.integers(2, 400)), draw(st.integers(2, 400))
    target_height, target_width = draw(st.integers(1, height)), draw(st.integers(1, width))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    # Few levels make halves frequent; smooth pictures are what cameras see.
    kind = draw(st.sampled_from(["noise", "two levels", "black or white", "ramp", "flat"]))
    if kind == "ramp":
        pixels = np.linspace(0, 255, height * width * 3).astype(np.uint8).reshape(height, width, 3)
    elif kind == "flat":
        pixels = np.full((height, width, 3), draw(st.integers(0, 255)), dtype=np.uint8)
    else:
        levels = {"noise": 256, "two levels": 2, "black or white": 2}[kind]
        pixels = random.integers(0, levels, (height, width, 3), dtype=np.uint8)
        pixels *= 255 if kind == "black or white" else 1
    return pixels, (target_width, target_height)


@settings(max_examples=300, deadline=None)
@given(case=cases(), rows_at_once=st.integers(1, 400))
def test_every_bit_is_opencvs(case: Tuple[np.ndarray, Tuple[int, int]], rows_at_once: int) -> None:
    pixels, size = case
    (height, width), (target_width, target_height) = pixels.shape[:2], size
    if height % target_height == 0 and width % target_width == 0:
        assert plan_area((height, width), size) is None
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(area, "_CHUNK_BYTES", rows_at_once * width * 3 * 4)
        resizer = AreaResizer((height, width), size)
    out = np.full((target_height, target_width, 3), 7, dtype=np.uint8)
    if resizer.run(pixels, out):
        np.testing.assert_array_equal(out, opencv(pixels, size))


@pytest.mark.parametrize("size", [(512, 384), (320, 240), (224, 224), (576, 768)])
@pytest.mark.parametrize("shape", [(1080, 1920), (1943, 2591), (3000, 4096)])
def test_the_sizes_of_cameras_are_planned_and_exact(shape: Tuple[int, int], size: Tuple[int, int]) -> None:
    resizer = plan_area(shape, size)
    assert resizer is not None
    out = np.empty((size[1], size[0], 3), dtype=np.uint8)
    for pixels in (noise(*shape, seed=5), noise(*shape, seed=6) // 64 * 85):
        assert resizer.run(pixels, out)
        np.testing.assert_array_equal(out, opencv(pixels, size))


def test_halves_are_settled_in_opencvs_order() -> None:
    """Without that the averages of this pair of sizes, a 54th of which are halves, come out wrong by hundreds."""
    pixels = noise(1080, 1920)
    resizer = plan_area((1080, 1920), (320, 240))
    assert resizer is not None
    unsettled, out = np.empty((240, 320, 3), np.uint8), np.empty((240, 320, 3), np.uint8)
    resizer.run(pixels, out)
    resizer._settle = lambda *arguments: None
    resizer.run(pixels, unsettled)
    expected = opencv(pixels, (320, 240))
    assert (unsettled != expected).sum() > 100
    np.testing.assert_array_equal(out, expected)


def preprocessor(size: Tuple[int, int]) -> Preprocessor:
    document = make_manifest((size[1], size[0]), (1, 1), ["background"], "both", 0.5)
    return Preprocessor(parse_manifest(json.dumps(document).encode(), "manifest.json").stage)


def as_pixels(tensor: np.ndarray) -> np.ndarray:
    return np.rint(tensor[0].transpose(1, 2, 0) * 255).astype(np.uint8)


def test_a_picture_full_of_halves_goes_the_other_way() -> None:
    pixels = checkers(1080, 1920)
    resizer = plan_area((1080, 1920), (320, 240))
    assert resizer is not None
    assert not resizer.run(pixels, np.empty((240, 320, 3), dtype=np.uint8))
    found = as_pixels(preprocessor((320, 240)).run(pixels))
    np.testing.assert_array_equal(found, opencv(pixels, (320, 240)))


def test_shapes_take_turns_and_views_are_understood() -> None:
    prepared = preprocessor((96, 64))
    prepared.prepare(700, 500)
    wide = noise(700, 1000)
    read_only = noise(700, 500)
    read_only.flags.writeable = False
    for pixels in (
        noise(700, 500),
        wide[:, ::2],
        read_only,
        noise(333, 777),
        wide,
        noise(300, 777),
        noise(301, 777),
        wide,
    ):
        np.testing.assert_array_equal(as_pixels(prepared.run(pixels)), opencv(pixels, (96, 64)))


@pytest.mark.parametrize("shape", [(64, 64), (768, 1024), (100, 1024), (48, 2048)])
def test_enlarging_and_whole_ratios_are_left_to_opencv(shape: Tuple[int, int]) -> None:
    size = (512, 128) if shape != (768, 1024) else (512, 384)
    assert plan_area(shape, size) is None
    pixels = noise(*shape)
    np.testing.assert_array_equal(as_pixels(preprocessor(size).run(pixels)), opencv(pixels, size))


def test_an_opencv_that_rounds_otherwise_is_used_as_it_is(monkeypatch, caplog) -> None:
    monkeypatch.setattr(AreaResizer, "_in_opencvs_order", lambda self, source, targets: np.zeros(targets.size))
    with caplog.at_level(logging.WARNING):
        assert plan_area((1080, 1920), (320, 240)) is None
    assert "rounds areas in a way of its own: images of 1920 x 1080" in caplog.text
