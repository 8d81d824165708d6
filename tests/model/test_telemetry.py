from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from support.packages import make_package

_LOAD = """
import sys
from pathlib import Path
from edge_agent.model import load_model, open_package
with open_package(Path(sys.argv[1])) as package:
    model = load_model(package, threads=1)
model.warm_up()
model.close()
"""


def test_loading_and_running_a_model_writes_no_telemetry(tmp_path: Path) -> None:
    """ONNX Runtime keeps a device id and a queue of events below HOME where its telemetry is on."""
    package = make_package(tmp_path / "model")
    home = tmp_path / "home"
    home.mkdir()
    # CI switches the telemetry off by itself, and so would a test that leaves it set.
    environment = {k: v for k, v in os.environ.items() if k not in ("CI", "ORT_DISABLE_TELEMETRY")}
    environment.update(HOME=str(home), XDG_CACHE_HOME=str(home / "cache"))
    run = subprocess.run(
        [sys.executable, "-c", _LOAD, str(package)], env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert "elemetry" not in run.stderr
    assert list(home.rglob("*")) == []
