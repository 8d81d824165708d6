from __future__ import annotations

from pathlib import Path
from typing import Any, List, Tuple

import cv2
import numpy as np
import pytest
from PIL import Image

from edge_agent.cameras.decode import decode_image
from edge_agent.errors import ImageError
from edge_agent.frame import Pixels


def _decode(path: Path) -> Pixels:
    asked: List[Tuple[int, int]] = []

    def reserve(height: int, width: int) -> Pixels:
        asked.append((height, width))
        return np.zeros((height, width, 3), np.uint8)

    pixels = decode_image(path, reserve)
    assert asked == [pixels.shape[:2]]
    return pixels


def _scene() -> Pixels:
    """Each corner its own colour, so that any turn, flip or swapped channel shows."""
    image = np.zeros((80, 100, 3), np.uint8)
    image[:40, :50], image[:40, 50:], image[40:, :50] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    return image


def test_rgb_comes_out_as_it_went_in(tmp_path: Path) -> None:
    Image.fromarray(_scene()).save(tmp_path / "a.png")
    assert np.array_equal(_decode(tmp_path / "a.png"), _scene())


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rows are columns
    Image.fromarray(_scene()).save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(_decode(tmp_path / "a.png"), np.rot90(_scene(), k=-1))


def test_grey_becomes_three_equal_channels(tmp_path: Path) -> None:
    grey = np.arange(100 * 80, dtype=np.uint32).reshape(80, 100).astype(np.uint8)
    Image.fromarray(grey).save(tmp_path / "a.png")
    assert np.array_equal(_decode(tmp_path / "a.png"), np.repeat(grey[:, :, None], 3, axis=2))


def test_alpha_is_left_out(tmp_path: Path) -> None:
    alpha = np.full((80, 100, 1), 10, np.uint8)
    Image.fromarray(np.concatenate([_scene(), alpha], axis=2)).save(tmp_path / "a.png")
    assert np.array_equal(_decode(tmp_path / "a.png"), _scene())


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm"])
def test_sixteen_bits_keep_their_upper_eight_however_dark(tmp_path: Path, name: str) -> None:
    # Dark on purpose: a reader that guesses the scale from the maximum would brighten it.
    samples = np.arange(100 * 80, dtype=np.uint16).reshape(80, 100)
    if name == "a.pgm":
        (tmp_path / name).write_bytes(b"P5 100 80 65535\n" + samples.astype(">u2").tobytes())
    else:
        Image.fromarray(samples).save(tmp_path / name)
    expected = (samples >> 8).astype(np.uint8)
    assert np.array_equal(_decode(tmp_path / name), np.repeat(expected[:, :, None], 3, axis=2))


def test_palette_and_cmyk_become_rgb(tmp_path: Path) -> None:
    Image.fromarray(_scene()).convert("P", palette=Image.Palette.ADAPTIVE, colors=8).save(tmp_path / "p.png")
    assert np.array_equal(_decode(tmp_path / "p.png"), _scene())
    Image.fromarray(_scene()).convert("CMYK").save(tmp_path / "c.tif")
    assert np.array_equal(_decode(tmp_path / "c.tif"), _scene())


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_sixteen_bits_of_colour_keep_their_upper_eight(tmp_path: Path, name: str) -> None:
    samples = np.arange(100 * 80 * 3, dtype=np.uint16).reshape(80, 100, 3) * 2 + 1
    cv2.imwrite(str(tmp_path / name), samples[:, :, ::-1])
    assert np.array_equal(_decode(tmp_path / name), (samples >> 8).astype(np.uint8))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16"])
@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.jpg", "a.bmp", "a.gif", "a.webp", "a.jp2", "a.ppm"])
def test_whatever_pillow_writes_is_read(tmp_path: Path, mode: str, name: str) -> None:
    """Black and white come out as such, from every mode that the format has."""
    bar = np.zeros((80, 100), np.uint8)
    bar[:, 50:] = 255
    image = Image.fromarray(bar)
    image = Image.fromarray(bar.astype(np.uint16) * 257) if mode == "I;16" else image.convert(mode)
    try:
        image.save(tmp_path / name)
    except (OSError, KeyError, ValueError):
        return  # the format has no such mode
    pixels = _decode(tmp_path / name).astype(int)
    assert pixels[:, :40].max() <= 8
    assert pixels[:, 60:].min() >= 247


@pytest.mark.parametrize("name", ["a.gif", "a.tif", "a.mpo"])
def test_of_several_pictures_in_a_file_the_first_is_taken(tmp_path: Path, name: str) -> None:
    pictures = [Image.new("RGB", (80, 70), colour) for colour in ("white", "black")]
    pictures[0].save(tmp_path / name, save_all=True, append_images=pictures[1:])
    assert (_decode(tmp_path / name) == 255).all()


def test_a_file_of_another_kind_under_the_name_of_an_image_starts_no_other_program(tmp_path: Path) -> None:
    """Pillow hands PostScript to Ghostscript, where that is installed."""
    (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n%%EndComments\nshowpage\n")
    with pytest.raises(ImageError, match="no known image format"):
        _decode(tmp_path / "a.png")


def _png(size: Tuple[int, int], **options: Any) -> bytes:
    from io import BytesIO

    buffer = BytesIO()
    Image.new("RGB", size, (9, 9, 9)).save(buffer, "PNG", **options)
    return buffer.getvalue()


def _tall_float(path: Path) -> None:
    Image.fromarray(np.ones((80, 100), np.float32)).save(path)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("empty.png", b"", "empty"),
        ("text.jpg", b"this is no image at all", "no known image format"),
        ("torn.png", _png((200, 200), compress_level=0)[:5000], "not a readable image"),
        ("headless.jpg", b"\xff\xd8\xff", "not a readable image"),
        ("small.png", _png((63, 100)), "63 x 100"),
        ("low.png", _png((100, 63)), "100 x 63"),
        ("wide.png", _png((4097, 64)), "4097 x 64"),
        ("high.png", _png((64, 4097)), "64 x 4097"),
    ],
)
def test_what_cannot_become_a_frame_is_named(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ImageError, match=reason) as caught:
        _decode(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_a_directory_and_32_bits_are_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="does not exist"):
        _decode(tmp_path / "absent.png")
    (tmp_path / "directory.png").mkdir()
    with pytest.raises(ImageError, match="not a readable image"):
        _decode(tmp_path / "directory.png")
    _tall_float(tmp_path / "float.tif")
    with pytest.raises(ImageError, match="32-bit"):
        _decode(tmp_path / "float.tif")


@pytest.mark.parametrize("size", [(64, 64), (4096, 64), (64, 4096)])
def test_the_limits_themselves_are_accepted(tmp_path: Path, size: Tuple[int, int]) -> None:
    (tmp_path / "a.png").write_bytes(_png(size))
    assert _decode(tmp_path / "a.png").shape == (size[1], size[0], 3)
