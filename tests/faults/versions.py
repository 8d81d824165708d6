"""Versions of a model that give themselves away: version 1.0.N answers N / 10,000 to a red image.

`deploy` puts one in place as people and nuclei do: in one step or in a slow copy, whole or with a fault. Each has a
golden image, so that only a package with a fault fails its self-test.
"""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Optional

import numpy as np
import onnx
from onnx import helper, numpy_helper
from PIL import Image
from support.neo import make_neo_package
from support.packages import make_package, zip_package

SIDES = (96, 128)
MASK_SIDES = (240, 320)
RED = np.full((*SIDES, 3), (255, 0, 0), dtype=np.uint8)
_STEPS = 10_000

_CODE = ("model.onnx", "compiled.so")

# A slow copy: so many pieces, and seconds between them. The server's looks are five seconds apart.
_PIECES = 6
_PAUSE_S = 1.0


def score_of(number: int) -> float:
    return number / _STEPS


def number_of(score: float) -> int:
    return round(score * _STEPS)


class Place(NamedTuple):
    """Where a model component's packages go, and in what form: directory, compiled, zip or component."""

    component: str
    form: str
    top: Path

    @property
    def faults(self) -> List[str]:
        """What can be wrong with a package of this form."""
        return _ZIP_FAULTS if self.form == "zip" else [*_SPOIL, "stopped copy"]

    def deploy(self, number: int, fault: str = "", *, slowly: bool = False) -> None:
        """Put version 1.0.`number` in place."""
        beside = self.top / f".{self.component}-{number}"
        _write(beside, number, compiled=self.form == "compiled", versioned=self.form != "component")
        if fault in _SPOIL:
            _SPOIL[fault](beside)
        target = self._target(number)
        if self.form == "zip":
            beside = _as_zip(beside, fault)
        target.parent.mkdir(parents=True, exist_ok=True)
        if slowly or fault == "stopped copy":
            _copy(beside, target, whole=fault != "stopped copy")
        else:
            put_in_place(beside, target)
        if self.form == "component":
            self._forget_old_versions()

    def _target(self, number: int) -> Path:
        if self.form == "component":
            return self.top / self.component / f"1.0.{number}" / "model"
        return self.top / (f"{self.component}.zip" if self.form == "zip" else self.component)

    def _forget_old_versions(self) -> None:
        """A nucleus keeps few."""
        versions = sorted((self.top / self.component).iterdir(), key=lambda path: int(path.name.split(".")[2]))
        for version in versions[:-3]:
            shutil.rmtree(version)


def _write(path: Path, number: int, *, compiled: bool, versioned: bool) -> None:
    about: Dict[str, Any] = {"version": f"1.0.{number}"} if versioned else {}
    about["golden"] = {"images": [{"file": "golden/red.png", "score": score_of(number)}], "tolerance": 1e-5}
    if compiled:
        make_neo_package(path, size=SIDES, gain=score_of(number), top={"package": about})
    else:
        make_package(path, size=SIDES, raw_image_shape=MASK_SIDES, version=None, top={"package": about})
        _answer(path / "mochi" / "model.onnx", score_of(number))
    (path / "golden").mkdir()
    Image.fromarray(RED).save(path / "golden" / "red.png")


def _answer(file: Path, score: float) -> None:
    """Have the network's class output be this, whatever it computes."""
    network = onnx.load(str(file))
    (last,) = [node for node in network.graph.node if node.op_type == "Concat"]
    last.output[0] = "computed"
    for name, values in (("none", [0.0, 0.0]), ("answer", [score, 1 - score])):
        network.graph.initializer.append(numpy_helper.from_array(np.array([values], np.float32), name))
    network.graph.node.append(helper.make_node("Mul", ["computed", "none"], ["nothing"]))
    network.graph.node.append(helper.make_node("Add", ["nothing", "answer"], ["class"]))
    onnx.save(network, str(file))


def _other_golden_score(package: Path) -> None:
    manifest = json.loads((package / "manifest.json").read_text())
    manifest["package"]["golden"]["images"][0]["score"] += 0.01
    (package / "manifest.json").write_text(json.dumps(manifest))


def _code(package: Path) -> Optional[Path]:
    """The network, or the library that was made of it; None when it is missing."""
    return next((package / "mochi" / name for name in _CODE if (package / "mochi" / name).exists()), None)


def _break_code(package: Path) -> None:
    code = _code(package)
    assert code is not None
    code.write_bytes(code.read_bytes()[:200] + bytes(1000))


def _lose_code(package: Path) -> None:
    code = _code(package)
    assert code is not None
    code.unlink()


def _tear_manifest(package: Path) -> None:
    text = (package / "manifest.json").read_text()
    (package / "manifest.json").write_text(text[: len(text) // 2])


_SPOIL: Dict[str, Callable[[Path], None]] = {
    "wrong golden score": _other_golden_score,
    "broken network": _break_code,
    "missing file": _lose_code,
    "torn manifest": _tear_manifest,
}
_ZIP_FAULTS = ["torn zip", "wrong checksum", "wrong golden score", "stopped copy"]


def _as_zip(package: Path, fault: str) -> Path:
    file = zip_package(package, package.with_name(f"{package.name}.part"))
    shutil.rmtree(package)
    data = bytearray(file.read_bytes())
    if fault == "torn zip":
        file.write_bytes(data[: len(data) // 2])
    if fault == "wrong checksum":
        data[data.index(b"PK\x01\x02") + 16] ^= 0xFF  # of the first member, in the directory at the zip's end
        file.write_bytes(data)
    return file


def put_in_place(source: Path, target: Path) -> None:
    """In one step, as docs/server.md has it; a directory that is in the way goes first."""
    if target.is_dir():
        shutil.rmtree(target)
    source.rename(target)


def _copy(source: Path, target: Path, *, whole: bool) -> None:
    """The network last and piece by piece; it may stop in the middle of that."""
    if target.is_dir():
        shutil.rmtree(target)
    if source.is_file():
        _copy_file(source, target, whole=whole)
        source.unlink()
        return
    files = sorted(path for path in source.rglob("*") if path.is_file())
    last = _code(source) or files[-1]
    for file in [*(file for file in files if file != last), last]:
        place = target / file.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        if file == last:
            _copy_file(file, place, whole=whole)
        else:
            shutil.copyfile(file, place)
    shutil.rmtree(source)


def _copy_file(source: Path, target: Path, *, whole: bool) -> None:
    data = source.read_bytes()
    with target.open("wb") as file:
        for piece in range(_PIECES if whole else _PIECES // 2):
            file.write(data[piece * len(data) // _PIECES : (piece + 1) * len(data) // _PIECES])
            file.flush()
            time.sleep(_PAUSE_S)


def number_in(version: Optional[str]) -> int:
    """N of 1.0.N; -1 for anything else."""
    parts = (version or "").split(".")
    return int(parts[2]) if parts[:2] == ["1", "0"] and len(parts) == 3 else -1
