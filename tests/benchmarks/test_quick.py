"""Each benchmark runs in its quick form and prints what it promises. What the figures are is no test's business."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict

import pytest
from support import gige
from support.cameras.video import RtspRig

CHECKOUT = Path(__file__).parents[2]


def _quick(name: str, *arguments: str) -> Dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", "--quick", *arguments],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    printed: Dict[str, Any] = json.loads(done.stdout)
    assert set(printed) == {"machine", "settings", "figures"}
    assert {"cpu", "cores", "python", "packages"} <= set(printed["machine"])
    return printed["figures"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_pipeline() -> None:
    figures = _quick("pipeline")
    for transport in ("shm", "bytes"):
        for size in ("vga", "1080p", "12mp"):
            assert figures["ratio"][transport][size] > 0
            assert set(figures["added_ms"][transport][size]) == {"p50", "p99"}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_spool() -> None:
    figures = _quick("spool")
    for sync in ("always", "interval"):
        assert set(figures["one_lane"][sync]["append_ms"]) == {"p50", "p99"}
        assert figures["at_1000_per_s"][sync]["on_disk_per_s"] > 0
        assert figures["most_per_s"][sync] > 0


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_drain() -> None:
    figures = _quick("drain")
    for mode in ("classic", "lite"):
        assert figures["drain"][mode]["in_order"]
        assert figures["drain"][mode]["missing"] == 0
        assert figures["drain"][mode]["frames"]["during"] > 0
        assert figures["pss"][mode]["publishes"] == 2_000


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_latency() -> None:
    figures = _quick("latency")
    for size in ("vga", "1080p", "12mp"):
        assert set(figures["added_ms"]["shm"][size]) == {"p50", "p99"}
        assert figures["bytes_over_echo"][size] != 0
        assert figures["p99_over_p50"]["shm"][size] >= 1
    assert figures["pss_mb"] > 0
    assert all(factor > 0 for factor in figures["cold_over_warm"].values())


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_glue() -> None:
    figures = _quick("glue")
    for size in ("vga", "720p", "1080p", "12mp"):
        assert figures["glue_ms"]["reference"][size] > 0
        assert figures["glue_ms"]["ours"][size] > 0
        assert figures["glue_ratio"][size] > 0
    assert figures["p99_over_p50"] >= 1


@pytest.mark.timeout(300)
@pytest.mark.skipif(bool(gige.missing_fake()), reason=gige.missing_fake())
def test_cameras_gige() -> None:
    with gige.reserved_for_the_fake():
        figures = _quick("cameras", "--part", "gige")["gige"]
    assert figures["frames_per_s"] > 0
    assert figures["lost"] >= 0
    assert figures["ratio"] > 0
    assert set(figures["plain_socket"]) == set(figures["gigabit"]) == {"frames_per_s", "lost"}


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.skipif(bool(RtspRig.missing()), reason=RtspRig.missing())
def test_cameras_video() -> None:
    figures = _quick("cameras", "--part", "video")["video"]
    assert set(figures) == {"file", "rtsp"}
    for source in figures.values():
        assert source["frames_per_s"] > 0
        assert source["ratio"] > 0
        assert source["ratio_decode"] > 0


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_cameras_lanes() -> None:
    figures = _quick("cameras", "--part", "lanes")["lanes"]
    shared = figures["shared"]
    assert set(shared["frames_per_s"]) == {"1", "8"}
    assert shared["ratio"] > 0
    assert 0 < shared["share"]["min"] <= 1 <= shared["share"]["max"]
    assert figures["idle"]["core_percent"] > 0


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_line() -> None:
    figures = _quick("line", "--load", "4x600")
    parts = figures["parts"]["4x600"]
    assert parts["parts"] > 0
    assert set(parts["added_ms"]) == {"p50", "p99", "max"}
    assert parts["to_output_ms"]["p50"] > parts["model_ms"]["p50"] > 0
    assert figures["outputs"]["pulses"] == 20
    assert figures["outputs"]["width_error_ms"]["p99"] >= 0
    for burden in ("viewers", "recorder"):
        assert figures[burden]["parts"]["with"] > 0
        assert figures[burden]["p99_ratio"] > 0
    assert figures["recorder"]["images"]["recorded"] > 0


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_packaging() -> None:
    figures = _quick("packaging")
    assert 30 < figures["network_mb"] < 40
    for choice in ("none", "fp32", "int8"):
        assert figures["job_s"][choice]["wall"] > 0
        for size in ("vga", "1080p", "12mp"):
            assert figures["ratio_wall"][choice][size] > 0
            assert figures["ratio_cpu"][choice][size] > 0
