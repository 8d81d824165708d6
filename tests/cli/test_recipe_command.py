"""`edge-agent recipe check`."""

from __future__ import annotations

from pathlib import Path
from typing import Callable

from cli.conftest import Done

RECIPES = Path(__file__).parents[2] / "recipe"


def test_right_and_wrong_recipes(command: Callable[..., Done], tmp_path: Path) -> None:
    inspector = RECIPES / "inspector.yaml"
    done = command("recipe", "check", str(inspector), str(RECIPES / "model-server.yaml"))
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[0] == f"{inspector}: right, com.edgeagent.Inspector 0.1.0"
    braces, long, kit = (tmp_path / name for name in ("braces.yaml", "long.yaml", "none.yaml"))
    braces.write_text(inspector.read_text().replace('" run', '" run ${HOME}'))
    long.write_text(inspector.read_text() + "#" * 8192)
    done = command("recipe", "check", str(braces), str(inspector), str(long), str(kit))
    assert done.code == 1
    assert done.out == f"{inspector}: right, com.edgeagent.Inspector 0.1.0\n"
    first, second, third = done.err.splitlines()
    assert first.startswith(f"error: {braces}, Manifests[0].Lifecycle.run.Script: has braces around something")
    assert "nucleus lite reads fewer than 8192" in second
    assert third == f"error: {kit}: cannot be read (No such file or directory)"
