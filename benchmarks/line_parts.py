"""From the capture of a part to the moment when its output is driven, against the model's own time in the same run."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Dict

from benchmarks.line_site import Load, Share, quantiles, site

#: By name.
LOADS: Dict[str, Load] = {
    "1x600": Load(cameras=1, rate=10),
    "1x1200": Load(cameras=1, rate=20),
    "4x600": Load(cameras=4, rate=10),
    "4x1200": Load(cameras=4, rate=20),
    "4x600_together": Load(cameras=4, rate=10, together=True),
    "4x1200_together": Load(cameras=4, rate=20, together=True),
}


def measure(load: Load, seconds: float, share: Share) -> Dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="edge-agent-") as scratch:
        with site(Path(scratch), load, share) as line:
            window = line.run(seconds)
        to_output, notes = line.to_output_ms(window), line.notes(window)
        late = line.late_ms(window)
    whole, model = quantiles(to_output), quantiles([note.model for note in notes])
    return {
        "parts": len(to_output),
        "to_output_ms": whole,
        "model_ms": model,
        "queue_ms": quantiles([note.wait for note in notes]),
        "added_ms": {name: round(whole[name] - model[name], 3) for name in whole},
        "captured_late_ms": quantiles(late),
    }
