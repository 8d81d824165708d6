"""docs/from-lookout-for-vision.md, step by step: every command as the page has it, on a model that was compiled for a CPU."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest
from support.aws_loopback import serve_cloud
from support.messages import published
from support.neo import make_neo_package
from support.packages import zip_package
from support.walk import Walk

from edge_agent.sample import write_dataset

PAGE = "from-lookout-for-vision.md"
PARTS = 6
_AWS = {
    "AWS_ACCESS_KEY_ID": "AKIDTEST",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_DEFAULT_REGION": "eu-central-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}

pytestmark = [
    pytest.mark.skipif(platform.machine() != "x86_64", reason="the page's example is for x86_64"),
    pytest.mark.filterwarnings("ignore:Boto3 will no longer support Python"),
]


@pytest.mark.timeout(300)
def test_from_an_old_project_to_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_dataset(tmp_path / "bolts", PARTS, seed=1)
    zip_package(make_neo_package(tmp_path / "old"), tmp_path / "bolts.zip")
    for name, value in _AWS.items():
        monkeypatch.setenv(name, value)
    with serve_cloud(monkeypatch) as cloud, Walk(PAGE, tmp_path) as walk:
        cloud.things = ["press-4"]  # it does at once what it is told
        cloud.executions = {"press-4": {"coreDeviceExecutionStatus": "SUCCEEDED"}}
        line, deployment = walk.blocks("yaml")
        (tmp_path / "configuration.json").write_text(walk.blocks("json")[0])
        (tmp_path / "line.yaml").write_text(line)
        (tmp_path / "deployment.yaml").write_text(deployment)
        printed = walk.run()
        (request,) = cloud.asked("create_deployment")
    assert "F1Score" in printed["edge-agent evaluate"]
    assert "RUNNING" in printed["edge-agent models"]
    inspections = published(tmp_path / "record.jsonl")
    assert len(inspections) == PARTS
    assert {inspection["model"]["component"] for inspection in inspections} == {"com.example.Bolts"}
    assert set(request["components"]) == {
        "com.example.Bolts",
        "com.edgeagent.ModelServer",
        "com.edgeagent.Inspector",
    }


def test_the_page_has_ten_steps_with_a_command_each(tmp_path: Path) -> None:
    walk = Walk(PAGE, tmp_path)
    assert walk.steps == [str(number) for number in range(1, 11)]
    assert len(walk.commands) == 11  # the ninth has two lines
