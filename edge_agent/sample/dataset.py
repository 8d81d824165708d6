"""A training set on disk, as Lookout for Vision exported it: pictures, palette masks, a Ground Truth manifest."""

from __future__ import annotations

import json
import pathlib
from typing import Any, Dict, List

import numpy as np
from PIL import Image

from edge_agent.sample.defects import CLASS_NAMES
from edge_agent.sample.part import SamplePart, render_part
from edge_agent.sample.texture import generator

#: Colours of the classes in the masks, in the order of CLASS_NAMES.
CLASS_COLORS = ("#FFFFFF", "#23A436", "#14A3B3", "#F76902")

#: A fixed date keeps the manifest the same in every run.
_CREATED = "2022-01-01T00:00:00.000Z"
_JPEG_QUALITY = 95


def write_dataset(directory: pathlib.Path, count: int, seed: int, *, anomalous_share: float = 0.5) -> pathlib.Path:
    """Write `count` parts into `directory` and return the path of the manifest.

    Every class is drawn equally often among the anomalous. The parts depend on `seed` alone; none of them appears
    in a `part_stream` but by the chance of equal 32-bit seeds.
    """
    random = generator(seed)
    (directory / "images").mkdir(parents=True, exist_ok=True)
    (directory / "masks").mkdir(exist_ok=True)
    names = CLASS_NAMES[1:]
    anomalous = round(count * anomalous_share)
    lines: List[str] = []
    for number in range(count):
        defect = names[number % len(names)] if number < anomalous else None
        part = render_part(int(random.randint(0, 2**32, dtype=np.uint32)), defect=defect)
        lines.append(json.dumps(_write_part(directory, f"part-{number:04d}", part)))
    manifest = directory / "train.manifest"
    manifest.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return manifest


def _write_part(directory: pathlib.Path, stem: str, part: SamplePart) -> Dict[str, Any]:
    image = f"images/{stem}.jpg"
    Image.fromarray(part.image).save(directory / image, quality=_JPEG_QUALITY)
    line: Dict[str, Any] = {
        "source-ref": image,
        "anomaly-label": int(part.is_anomalous),
        "anomaly-label-metadata": {
            "class-name": "anomaly" if part.is_anomalous else "normal",
            "type": "groundtruth/image-classification",
            **_origin("anomaly-label"),
        },
    }
    if part.is_anomalous:
        mask = f"masks/{stem}.png"
        _save_mask(directory / mask, part)
        line["anomaly-mask-ref"] = mask
        line["anomaly-mask-ref-metadata"] = {
            "internal-color-map": {
                str(number): {"class-name": name, "hex-color": CLASS_COLORS[CLASS_NAMES.index(name)]}
                for number, name in enumerate(part.classes)
            },
            "type": "groundtruth/semantic-segmentation",
            **_origin("object-mask-ref"),
        }
    return line


def _origin(job: str) -> Dict[str, str]:
    return {"job-name": f"labeling-job/{job}", "human-annotated": "no", "creation-date": _CREATED}


def _save_mask(path: pathlib.Path, part: SamplePart) -> None:
    """A palette image whose background is transparent."""
    mask = Image.fromarray(part.mask)
    mask.putpalette([int(color[place : place + 2], 16) for color in CLASS_COLORS for place in (1, 3, 5)])
    mask.save(path, transparency=0)
