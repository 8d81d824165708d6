"""What the benchmarks of the path have in common: the shipped model at three sizes, its frames, and the bare engine."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Dict, List, Sequence, Tuple

import numpy as np
from PIL import Image

from edge_agent import sample
from edge_agent.frame import Pixels
from edge_agent.model import load_model, open_package

#: (width, height) of the frames, and of their masks.
SIZES: Dict[str, Tuple[int, int]] = {"vga": (640, 480), "1080p": (1920, 1080), "12mp": (4096, 3000)}
WARM_UP = 8


def package_name(size: str) -> str:
    return f"bench-{size}"


def write_packages(store: Path) -> None:
    """The shipped model once for each size, its masks as large as the frames."""
    for size, (width, height) in SIZES.items():
        package = store / package_name(size)
        shutil.copytree(sample.models_directory() / sample.MODEL_NAME, package)
        path = package / "manifest.json"
        manifest = json.loads(path.read_text())
        manifest["model_graph"]["stages"][0]["raw_image_shape"] = [height, width]
        manifest["dataset"] = {"image_width": width, "image_height": height}
        path.write_text(json.dumps(manifest))


def render_frames(size: Tuple[int, int]) -> List[Pixels]:
    """A normal part and a scratched one, RGB888, of this (width, height)."""
    parts = [sample.render_part(seed, defect=defect).image for seed, defect in ((1, None), (2, "scratch"))]
    return [np.asarray(Image.fromarray(part).resize(size)) for part in parts]


def bare_times(package: Path, frames: List[Pixels], count: int, threads: int) -> List[float]:
    """Milliseconds a frame of the engine with its pre- and post-processing, in this process."""
    with open_package(package) as opened:
        model = load_model(opened, threads=threads)
    try:
        size = model.mask_size_for(*frames[0].shape[:2])
        assert size is not None
        mask = np.empty((*size, 3), np.uint8)
        times = []
        for index in range(count + WARM_UP):
            started = time.perf_counter()
            model.detect(frames[index % len(frames)], mask)
            times.append((time.perf_counter() - started) * 1000)
        return times[WARM_UP:]
    finally:
        model.close()


def percentile(values: Sequence[float], percent: int) -> float:
    return float(np.percentile(values, percent))
