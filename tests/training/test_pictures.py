"""Masks in both forms, and the faults of images and masks."""

from __future__ import annotations

import numpy as np
import pytest
from manifests import HEIGHT, WIDTH, image_line, mask_entries, save_image, write_lines
from PIL import Image

from edge_agent.errors import TrainingError
from edge_agent.training.ground_truth import read_ground_truth

pytest.importorskip("cv2")

from edge_agent.training import pictures

CLASSES = {"scratch": "#23A436", "dent": "#14A3B3"}
GREEN, TEAL = (0x23, 0xA4, 0x36), (0x14, 0xA3, 0xB3)


def example_with(folder, mask):
    save_image(folder / "bad.png")
    mask.save(folder / "mask.png")
    line = {**image_line("bad.png", 1), **mask_entries("mask.png", CLASSES)}
    labelled = read_ground_truth(write_lines(folder, [line]))
    return labelled.examples[0], labelled.classes


def read(folder, mask):
    example, classes = example_with(folder, mask)
    return pictures.read_mask(example, classes, (HEIGHT, WIDTH))


def test_opaque_mask_on_white(tmp_path):
    pixels = np.full((HEIGHT, WIDTH, 3), 255, dtype=np.uint8)
    pixels[10:20, 10:30] = GREEN
    pixels[30:40, 50:60] = TEAL
    pixels[9, 10:30] = (0xA0, 0xD6, 0xA8)  # a soft edge: nearer to white
    pixels[20, 10:30] = (0x40, 0xB0, 0x50)  # a soft edge: nearer to green
    found = read(tmp_path, Image.fromarray(pixels))
    assert (found[10:21, 10:30] == 1).all()
    assert (found[30:40, 50:60] == 2).all()
    assert np.count_nonzero(found) == 11 * 20 + 100


def test_palette_mask_counts_alpha_from_128(tmp_path):
    indices = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    indices[5, :3] = (1, 2, 3)
    indices[6, 0] = 4
    mask = Image.fromarray(indices)
    mask.putpalette([0, 0, 0, *GREEN, *GREEN, *GREEN, *TEAL])
    mask.save(tmp_path / "mask.png", transparency=bytes([0, 127, 128, 255, 255]))
    found = read(tmp_path, Image.open(tmp_path / "mask.png"))
    assert found[5, :3].tolist() == [0, 1, 1]
    assert found[6, 0] == 2
    assert np.count_nonzero(found) == 3


def test_mask_colour_without_a_class_is_refused(tmp_path):
    pixels = np.full((HEIGHT, WIDTH, 3), 255, dtype=np.uint8)
    pixels[10:20, 10:30] = (200, 0, 0)
    with pytest.raises(TrainingError, match="line 1: anomaly-mask-ref: has 200 pixels of colours"):
        read(tmp_path, Image.fromarray(pixels))


def test_mask_of_another_size_is_refused(tmp_path):
    with pytest.raises(TrainingError, match="line 1: anomaly-mask-ref: is 10x12 pixels, its image 96x64"):
        read(tmp_path, Image.new("RGB", (10, 12), "white"))


def test_images_without_masks(tmp_path):
    save_image(tmp_path / "a.png")
    save_image(tmp_path / "b.png")
    manifest = write_lines(tmp_path, [image_line("a.png", 0), image_line("b.png", 1)])
    good, bad = read_ground_truth(manifest).examples
    assert not pictures.read_mask(good, ("background",), (4, 4)).any()
    assert (pictures.read_mask(bad, ("background",), (4, 4)) == pictures.UNLABELLED).all()


def test_torn_image_and_torn_mask(tmp_path):
    example, classes = example_with(tmp_path, Image.new("RGB", (WIDTH, HEIGHT), "white"))
    example.mask.write_bytes(b"no image")
    with pytest.raises(TrainingError, match=r"anomaly-mask-ref: names 'mask\.png', which cannot be read"):
        pictures.read_mask(example, classes, (HEIGHT, WIDTH))
    example.image.write_bytes(example.image.read_bytes()[:60])
    with pytest.raises(TrainingError, match=r"source-ref: names 'bad\.png', which cannot be read"):
        pictures.read_image(example)


def test_images_of_two_sizes_are_refused(tmp_path):
    save_image(tmp_path / "a.png")
    Image.new("RGB", (100, 64)).save(tmp_path / "b.png")
    examples = read_ground_truth(write_lines(tmp_path, [image_line("a.png", 0), image_line("b.png", 1)])).examples
    assert pictures.common_size(examples[:1]) == (WIDTH, HEIGHT)
    with pytest.raises(TrainingError, match="line 2: source-ref: is 100x64 pixels, the first image 96x64"):
        pictures.common_size(examples)


def test_too_small_an_image_is_refused(tmp_path):
    Image.new("RGB", (63, 64)).save(tmp_path / "a.png")
    example = read_ground_truth(write_lines(tmp_path, [image_line("a.png", 0)])).examples[0]
    with pytest.raises(TrainingError, match="63x64"):
        pictures.read_image(example)


def test_loaded_pictures_are_resized_with_their_masks(tmp_path):
    pixels = np.full((HEIGHT, WIDTH, 3), 255, dtype=np.uint8)
    pixels[:, : WIDTH // 2] = GREEN
    example, classes = example_with(tmp_path, Image.fromarray(pixels))
    loaded = pictures.load_pictures([example], classes, (48, 32))
    assert loaded.images.shape == (1, 32, 48, 3)
    assert (loaded.images == 90).all()
    assert (loaded.masks[0, :, :24] == 1).all()
    assert not loaded.masks[0, :, 24:].any()
    assert loaded.labels.tolist() == [1.0]
