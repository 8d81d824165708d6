"""`edge-agent package`: from a network's file to a package that the model server loads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from edge_agent.cli.options import size
from edge_agent.packaging.model_package import PackageResult, make_package
from edge_agent.packaging.model_settings import HEADS, PackageSettings


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--name", required=True, help="Name of the package, as a model component.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Model store to write into.")
@click.option("--version", default="1.0.0", show_default=True, help="Version of the package.")
@click.option("--zip", "zipped", is_flag=True, help="Write a zip instead of a directory.")
@click.option("--force", is_flag=True, help="Replace a package of that name.")
@click.option("--golden", type=click.Path(path_type=Path), metavar="DIR", help="Up to 16 images for the self-test.")
@click.option("--threshold", type=float, help="An image is anomalous from this score on.  [default: 0.5]")
@click.option("--class", "classes", multiple=True, metavar="NAME", help="Of the mask; not background.")
@click.option("--size", metavar="WxH", callback=size, help="Of the input, where the file leaves it open.")
@click.option("--raw-size", metavar="WxH", callback=size, help="Of the mask.  [default: the image's or golden images']")
@click.option("--raw-scores", is_flag=True, help="anomalib: scores are not scaled to 0..1; needs --threshold.")
@click.option("--pixel-threshold", type=float, help="anomalib: make the mask from the anomaly map.")
@click.option("--no-mask", is_flag=True, help="anomalib: report none.")
@click.option("--heads", type=click.Choice(list(HEADS)), help="Of a network of class probabilities: its outputs.")
@click.option(
    "--image-class",
    "image_classes",
    multiple=True,
    default=("anomaly", "normal"),
    show_default=True,
    metavar="NAME",
    help="With --heads: classes of the image, in order.",
)
@click.option("--scale/--no-scale", default=True, help="With --heads: divide pixels by 255.  [default: scale]")
@click.option("--normalize/--no-normalize", default=None, help="By ImageNet's mean.  [default: with --heads]")
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True, help="Of the runs that check it.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def package(as_json: bool, **options: Any) -> None:
    """Make a package of FILE: an ONNX file, or an .xml of OpenVINO.

    FILE is an export of anomalib, known by the names of its outputs, or with --heads a network that gives class
    probabilities of pixels (mask), of the image (class), or both. The package is loaded, run and tested before it is
    put into the store: edge-agent serve --models DIR.
    """
    result = make_package(PackageSettings(**options))
    if as_json:
        click.echo(json.dumps({"package": str(result.path), "manifest": result.manifest}))
    else:
        _print(result)


def _print(result: PackageResult) -> None:
    stage = result.manifest["model_graph"]["stages"][0]
    raw = stage.get("raw_image_shape")
    mask = "none" if not stage["segmentation_head_enabled"] else f"{raw[1]}x{raw[0]}" if raw else "of the image's size"
    rows = [
        ("stage", f"{stage['type']}, {result.manifest['runtime']}"),
        ("input", f"{stage['image_width']}x{stage['image_height']}"),
        ("threshold", f"{stage['threshold']:g}"),
        ("mask", mask),
        ("classes", ", ".join(result.manifest["model_graph"]["pixel_level_classes"]["names"]) or "-"),
    ]
    words = {True: ", anomalous", False: ", normal", None: ""}
    rows += [(image.file, f"score {image.score:.4f}{words[image.is_anomalous]}") for image in result.golden.images]
    table = Table(show_header=False)
    for row in rows:
        table.add_row(*row)
    console = Console()
    console.print(str(result.path), soft_wrap=True, highlight=False, markup=False)
    console.print(table)
