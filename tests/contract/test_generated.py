from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]


@pytest.mark.timeout(300)
def test_generated_modules_are_what_the_proto_file_generates() -> None:
    if shutil.which("bash") is None:
        pytest.skip("needs bash")
    run = subprocess.run(
        [str(CHECKOUT / "scripts" / "generate_proto"), "--check"], capture_output=True, text=True, check=False
    )
    if "needs Python 3.8 to 3.12" in run.stderr:
        pytest.skip("grpcio-tools 1.62.3 has no wheel for this machine's only Python")
    assert run.returncode == 0, run.stdout + run.stderr
