"""The report of a training: one HTML file that loads nothing and runs nothing, readable in light and in dark."""

from __future__ import annotations

import base64
import html
import math
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

from edge_agent.errors import TrainingError
from edge_agent.training import charts, scores
from edge_agent.training.contact_sheet import MAX_MISTAKES, ContactSheet, Sheet
from edge_agent.training.evaluation import Evaluation

_STEPS = 200

# No script may run and nothing may be fetched, whatever a file's name holds.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"

_STYLE = """
:root { color-scheme: light dark; --paper: #ffffff; --ink: #1c2024; --soft: #5b6570; --grid: #e3e7ea; --card: #f5f7f8;
  --normal: #1f77b4; --anomaly: #d9480f; --third: #2b8a3e; --mark: #1c2024; }
@media (prefers-color-scheme: dark) { :root { --paper: #15181b; --ink: #e8eaed; --soft: #a3acb5; --grid: #2c3238;
  --card: #1e2327; --normal: #6cb6f0; --anomaly: #ff9161; --third: #7ddb8f; --mark: #e8eaed; } }
body { margin: 0 auto; padding: 1.5rem; max-width: 62rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0 0 .25rem; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
p { max-width: 46rem; } .soft, figcaption { color: var(--soft); font-size: .9rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; } th, td { padding: .25rem .8rem .25rem 0;
  text-align: left; border-bottom: 1px solid var(--grid); } td.n, th.n { text-align: right; }
figure { margin: 0; } .charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(20rem, 1fr)); gap: 1rem; }
.chart { background: var(--card); border-radius: .5rem; padding: .75rem; } svg { width: 100%; height: auto; }
.tick { fill: var(--soft); font-size: 12px; } .grid { stroke: var(--grid); } .mark { stroke: var(--mark);
  stroke-width: 1.5; stroke-dasharray: 5 4; } .line { fill: none; stroke-width: 2; stroke-linejoin: round; }
.line.normal { stroke: var(--normal); } .line.anomaly { stroke: var(--anomaly); } .line.third { stroke: var(--third); }
.bar.normal, i.normal { fill: var(--normal); background: var(--normal); }
.bar.anomaly, i.anomaly { fill: var(--anomaly); background: var(--anomaly); } i.third { background: var(--third); }
.key { margin-right: 1rem; } .key i { display: inline-block; width: .8em; height: .8em; border-radius: .2em;
  margin-right: .35em; } .sheet { display: grid; grid-template-columns: repeat(auto-fill, minmax(16rem, 1fr)); gap: 1rem; }
.sheet figure { background: var(--card); border-radius: .5rem; padding: .5rem; overflow-wrap: anywhere; }
.sheet img { max-width: 49%; border-radius: .25rem; vertical-align: top; } .wrong b { color: var(--anomaly); }
"""


@dataclass(frozen=True)
class Report:
    """What it tells.

    Attributes:
        manifest: of the package, as a document, with `training` and `performance`.
        losses: of each epoch.
        held: verdicts on the held-out images, with scores.
        seen: verdicts on the training images, with scores.
        sheet: mistakes and close calls.
    """

    manifest: Dict[str, Any]
    losses: Sequence[float]
    held: Evaluation
    seen: Evaluation
    sheet: ContactSheet


def write_report(target: Path, report: Report) -> None:
    """Whole or not at all; raises TrainingError where the place cannot be written."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{target.name}-", dir=str(target.parent))
        draft = Path(name)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(page(report))
            draft.chmod(0o644)
            draft.replace(target)
        finally:
            if draft.exists():
                draft.unlink()
    except OSError as error:
        raise TrainingError(str(target), f"the report cannot be written ({error.strerror})", "See --report.") from error


def page(report: Report) -> str:
    """The HTML."""
    about, training = report.manifest["package"], report.manifest["training"]
    title = f"{about['name']} {about['version']}"
    trained = (
        f"Trained {about['created']} by {about['tool']} on {training['images']} images, "
        f"{training['anomalous_images']} of them anomalous; {training['split']['held_out']} were held out. "
        f"Seed {training['seed']}, {training['epochs']} epochs, {training['wall_seconds']:.0f} s on {training['device']}."
    )
    head = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{_text(title)}: training</title><style>{_STYLE}</style></head><body>",
        f'<h1>{_text(title)}</h1><p class="soft">{_text(trained)}</p>',
    ]
    body = [*_numbers(report.manifest["performance"]), *_curves(report), *_sheets(report.sheet)]
    return "\n".join([*head, *body, "</body></html>", ""])


def _numbers(performance: Dict[str, Any]) -> Iterator[str]:
    held, seen = performance["held_out"], performance["training"]
    yield "<h2>Numbers</h2><table><tr><th></th><th class='n'>held out</th><th class='n'>training</th></tr>"
    rows = [(name, held[name], seen[name]) for name in held if name != "mask_iou"]
    rows += [(f"mask IoU, {name}", held["mask_iou"][name], seen["mask_iou"][name]) for name in held["mask_iou"]]
    for name, *values in rows:
        cells = "".join(f"<td class='n'>{'-' if value is None else f'{value:g}'}</td>" for value in values)
        yield f"<tr><td>{_text(name.replace('_', ' '))}</td>{cells}</tr>"
    yield "</table>"
    yield (
        f"<p>The threshold is {performance['threshold']:g}: an image is anomalous from this score on. It was chosen on "
        "the held-out images, so their numbers are a little too good; <i>f1 at half</i> (at 0.5) and <i>auroc</i> owe "
        "nothing to that choice.</p>"
    )


def _curves(report: Report) -> Iterator[str]:
    threshold = report.manifest["performance"]["threshold"]
    yield "<h2>Threshold</h2><p class='soft'>The dashed line is the threshold.</p><div class='charts'>"
    yield charts.line_chart(
        "Precision, recall and F1 of the held-out images over the threshold",
        _over_threshold(report.held),
        x="threshold, on the held-out images",
        y="",
        highest=1.0,
        mark=threshold,
    )
    for name, part in (("held-out", report.held), ("training", report.seen)):
        yield charts.histogram(
            f"Scores of the {name} images, by their label",
            _groups(part),
            x=f"score, {name} images",
            y="images",
            mark=threshold,
        )
    yield charts.line_chart(
        "Loss over the epochs",
        [charts.Series("loss", "normal", [(number, loss) for number, loss in enumerate(report.losses, start=1)])],
        x="epoch",
        y="loss",
        highest=_high(report.losses),
    )
    yield "</div>"


def _over_threshold(held: Evaluation) -> List[charts.Series]:
    lines: Dict[str, List[Tuple[float, float]]] = {"precision": [], "recall": [], "f1": []}
    for step in range(1, _STEPS):
        metrics = scores.image_metrics(held.anomaly_scores, held.truth, step / _STEPS)
        for name, points in lines.items():
            points.append((step / _STEPS, metrics[name]))
    styles = {"precision": "normal", "recall": "anomaly", "f1": "third"}
    return [charts.Series(name, styles[name], points) for name, points in lines.items()]


def _groups(part: Evaluation) -> List[charts.Group]:
    found, truth = part.anomaly_scores, part.truth
    return [
        charts.Group("normal", "normal", found[~truth].tolist()),
        charts.Group("anomalous", "anomaly", found[truth].tolist()),
    ]


def _high(losses: Sequence[float]) -> Optional[float]:
    """Upper end of the loss: the first epochs may be far above all others."""
    finite = sorted(loss for loss in losses if math.isfinite(loss))
    return finite[int(0.98 * (len(finite) - 1))] * 1.1 if finite else None


def _sheets(sheet: ContactSheet) -> Iterator[str]:
    wrong = [entry for entry in sheet.entries if entry.is_mistaken]
    close = [entry for entry in sheet.entries if not entry.is_mistaken]
    yield f"<h2>Mistakes: {sheet.mistakes}</h2>"
    if not wrong:
        yield "<p>None, on the held-out and on the training images.</p>"
    elif sheet.mistakes > MAX_MISTAKES:
        yield f"<p>The first {MAX_MISTAKES} of them: held-out images first, the worst first.</p>"
    yield from _cards(wrong)
    yield "<h2>Closest calls</h2><p class='soft'>Right, but with the scores nearest to the threshold.</p>"
    yield from _cards(close)
    yield "<p class='soft'>Of two pictures, the left one shows the labelled mask and the right one the mask found.</p>"


def _cards(entries: Sequence[Sheet]) -> Iterator[str]:
    yield "<div class='sheet'>"
    for entry in entries:
        pictures = [("labelled", entry.labelled), ("found", entry.found)]
        images = " ".join(
            f'<img alt="{_text(entry.name)}, {what}" src="data:image/jpeg;base64,{base64.b64encode(data).decode()}">'
            for what, data in pictures
            if data is not None
        )
        label = "anomalous" if entry.is_anomalous else "normal"
        style = " class='wrong'" if entry.is_mistaken else ""
        yield (
            f"<figure{style}>{images}<figcaption><b>{_text(entry.name)}</b><br>{entry.part}, labelled {label}, "
            f"score {entry.score:.4f}</figcaption></figure>"
        )
    yield "</div>"


def _text(text: object) -> str:
    return html.escape(str(text), quote=True)
