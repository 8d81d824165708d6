"""Images and masks of a labelled set: from files to arrays of the size that the network sees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, List, Sequence, Tuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from edge_agent.errors import MissingExtraError
from edge_agent.frame import MAX_SIDE, MIN_SIDE, Pixels
from edge_agent.training.ground_truth import BACKGROUND, Example

Mask = npt.NDArray[np.uint8]

#: Pixels of a mask with transparency belong to their class from this alpha on.
MIN_ALPHA = 128

#: Largest distance in RGB between a mask's pixel and the class it is counted to, and the share of a mask's coloured
#: pixels that may lie farther: soft edges do, a colour that the manifest does not name does not.
_NEAR = 80
_FAR_SHARE = 0.2

#: A mask value for pixels nobody has labelled; it takes no part in the training of the mask.
UNLABELLED = 255


@dataclass(frozen=True)
class Pictures:
    """A labelled set in memory, at the network's input size.

    Attributes:
        images: RGB, shape (n, height, width, 3), uint8, resized as the packaged model will resize.
        masks: class index or UNLABELLED, shape (n, height, width), uint8.
        labels: 1 anomalous, 0 normal, shape (n,), float32.
    """

    images: Pixels
    masks: Mask
    labels: npt.NDArray[np.float32]


def read_image(example: Example) -> Pixels:
    """RGB, shape (height, width, 3), uint8, turned as its EXIF data say.

    Raises:
        TrainingError: no readable image, or a side that an Edge Agent would refuse.
    """
    image = np.asarray(_open(example, "source-ref", "RGB"))
    height, width = image.shape[:2]
    if not all(MIN_SIDE <= side <= MAX_SIDE for side in (height, width)):
        raise example.fail("source-ref", f"is {width}x{height} pixels; each side must have {MIN_SIDE} to {MAX_SIDE}")
    return image


def read_mask(example: Example, classes: Sequence[str], shape: Tuple[int, int]) -> Mask:
    """Class index of each pixel, shape (height, width), uint8.

    A mask with transparency is background where alpha is below 128; elsewhere, and in an opaque mask, each pixel
    takes the class of the nearest colour. A normal image without a mask is all background, an anomalous one all
    UNLABELLED.

    Raises:
        TrainingError: no readable image, another size than the picture, or a colour that the manifest does not name.
    """
    if example.mask is None:
        return np.full(shape, UNLABELLED if example.is_anomalous else 0, dtype=np.uint8)
    rgba = np.asarray(_open(example, example.mask_key, "RGBA"))
    if rgba.shape[:2] != shape:
        raise example.fail(
            example.mask_key, f"is {rgba.shape[1]}x{rgba.shape[0]} pixels, its image {shape[1]}x{shape[0]}"
        )
    names = list(example.colors)
    palette = np.array([example.colors[name] for name in names], dtype=np.int32)
    # The colours of a mask are few: sort them once instead of every pixel.
    codes, places = np.unique(rgba.reshape(-1, 4).view(np.uint32), return_inverse=True)
    colors = codes.view(np.uint8).reshape(-1, 4).astype(np.int32)
    distances = np.linalg.norm(colors[:, None, :3] - palette[None], axis=2)
    indices = np.array([classes.index(name) for name in names], dtype=np.uint8)[distances.argmin(axis=1)]
    indices[colors[:, 3] < MIN_ALPHA] = classes.index(BACKGROUND)
    _check_colors(example, indices, distances.min(axis=1), colors[:, 3], np.bincount(places.reshape(-1)))
    mask: Mask = indices[places].reshape(shape)
    return mask


def _check_colors(example: Example, indices: Mask, distances: Any, alphas: Any, counts: Any) -> None:
    far = (distances > _NEAR) & (alphas >= MIN_ALPHA)
    named = (indices > 0) & ~far
    strange = int(counts[far].sum())
    if strange > _FAR_SHARE * int(counts[named].sum()) + 1:
        raise example.fail(
            example.mask_key,
            f"has {strange} pixels of colours that its internal-color-map does not name",
            "Background must be white or transparent.",
        )


def is_defect(mask: Mask) -> npt.NDArray[np.bool_]:
    """Where a mask says that something is wrong."""
    defect: npt.NDArray[np.bool_] = (mask > 0) & (mask != UNLABELLED)
    return defect


def load_pictures(examples: Sequence[Example], classes: Sequence[str], size: Tuple[int, int]) -> Pictures:
    """Read all examples into memory at `size` (width, height).

    Raises:
        TrainingError: as `read_image` and `read_mask`.
        MissingExtraError: OpenCV is not installed.
    """
    try:
        import cv2  # here alone: whoever only asks an Edge Agent has no need of it
    except ImportError as error:
        raise MissingExtraError("opencv-python-headless", "train") from error
    images: List[Pixels] = []
    masks: List[Mask] = []
    for example in examples:
        image = read_image(example)
        # The packaged model resizes in the same way: contract section 5.4.
        images.append(cv2.resize(image, size, interpolation=cv2.INTER_AREA))
        mask = read_mask(example, classes or (BACKGROUND,), (image.shape[0], image.shape[1]))
        masks.append(cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST))
    labels = np.array([example.is_anomalous for example in examples], dtype=np.float32)
    return Pictures(np.stack(images), np.stack(masks), labels)


def common_size(examples: Sequence[Example]) -> Tuple[int, int]:
    """(width, height) of the images, which must all be alike, as Lookout for Vision asked too.

    Raises:
        TrainingError: they differ.
    """
    sizes = [_size(example) for example in examples]
    for example, size in zip(examples, sizes):
        if size != sizes[0]:
            raise example.fail(
                "source-ref",
                f"is {size[0]}x{size[1]} pixels, the first image {sizes[0][0]}x{sizes[0][1]}",
                "All images must have one size.",
            )
    return sizes[0]


def _size(example: Example) -> Tuple[int, int]:
    """Size as read_image will give it, from the head of the file."""
    try:
        with Image.open(example.image) as image:
            turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)  # EXIF orientations that swap the sides
            return (image.height, image.width) if turned else (image.width, image.height)
    except Exception as error:  # Pillow raises many types for torn files
        raise example.fail("source-ref", f"cannot be read as an image ({error})") from error


def _open(example: Example, key: str, mode: str) -> Image.Image:
    path = example.image if key == "source-ref" else example.mask
    assert path is not None  # noqa: S101 - the caller looked
    try:
        with Image.open(path) as image:
            turned = ImageOps.exif_transpose(image)
            assert turned is not None  # noqa: S101 - Pillow means the in-place form
            return turned.convert(mode)
    except Exception as error:  # Pillow raises many types for torn files
        raise example.fail(key, f"names {path.name!r}, which cannot be read as an image ({error})") from error
