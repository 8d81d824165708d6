"""`edge-agent deploy`: bring components to a device or a group of them, from AWS or on the device itself."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, List, Optional

import click

from edge_agent.clock import SystemClock
from edge_agent.deployment.cloud import Cloud, Created, Target
from edge_agent.deployment.diff import differences, kept
from edge_agent.deployment.iam import ROLES, Scope
from edge_agent.deployment.local import (
    CLASSIC,
    LITE,
    LocalNucleusCli,
    Places,
    find_program,
    left_out,
    local_differences,
    program,
    versions_for,
)
from edge_agent.deployment.local_classic import ClassicCli
from edge_agent.deployment.local_lite import LiteCli
from edge_agent.deployment.request import carried_over, revise
from edge_agent.deployment.settings import DeploymentSettings, read_deployment
from edge_agent.deployment.waiting import Wait
from edge_agent.errors import DeploymentError

# Seconds between looks at a deployment. AWS allows an account a few calls a second.
_POLL_S = 5.0

_DIRECTORY = click.Path(path_type=Path, exists=True, file_okay=False)


@click.group(invoke_without_command=True)
@click.option("--file", "-f", "file", type=click.Path(path_type=Path), help="What shall run, in YAML or JSON.")
@click.option("--thing", help="Deploy to this core device.")
@click.option("--thing-group", help="Deploy to the core devices of this group.")
@click.option("--local", "locally", is_flag=True, help="Deploy here, through the nucleus's own command line.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Show what would change, and end.")
@click.option("--wait/--no-wait", default=True, show_default=True, help="Until every core device is done.")
@click.option(
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    default=1800.0,
    show_default=True,
    metavar="SECONDS",
    help="How long that may take.",
)
@click.option("--recipes", type=_DIRECTORY, help="With --local: recipes that the device does not have yet.")
@click.option("--artifacts", type=_DIRECTORY, help="With --local: their artifacts.")
@click.option("--nucleus", type=click.Choice([CLASSIC, LITE]), help="With --local: whose command line.")
@click.option(
    "--root",
    type=click.Path(path_type=Path),
    default="/greengrass/v2",
    show_default=True,
    help="With --local: of the classic nucleus.",
)
def deploy(file: Optional[Path], **options: Any) -> None:
    """Bring what a file names to --thing, to --thing-group, or with --local to this device.

    Shows what changes and asks before it revises. What the file does not name stays as it is. Exit code 1 where a
    device failed, with its reason.
    """
    if click.get_current_context().invoked_subcommand is not None:
        return
    if sum((options["thing"] is not None, options["thing_group"] is not None, options["locally"])) != 1:
        raise click.UsageError("Give one of --thing, --thing-group and --local.")
    if file is None:
        raise click.UsageError("Give --file.")
    settings = read_deployment(file)
    if options["locally"]:
        _deploy_locally(settings, str(file), options)
        return
    cloud = Cloud()
    target = cloud.thing(options["thing"]) if options["thing"] else cloud.thing_group(options["thing_group"])
    _deploy_from_cloud(cloud, target, settings, str(file), options)


@deploy.command()
@click.option("--role", type=click.Choice(list(ROLES)), help="Only this one's policy.  [default: all, by role]")
@click.option("--region", default=Scope().region, help="Of the core devices.")
@click.option("--account", default=Scope().account, help="Its number.")
@click.option("--bucket", default=Scope().bucket, help="Of the artifacts.")
@click.option("--prefix", default="", help="In the bucket.")
@click.option("--components", default=Scope().components, show_default=True, help="Pattern of names.")
@click.option("--thing", default=Scope().thing, show_default=True, help="Which may be deployed to.")
@click.option("--thing-group", "group", default=Scope().group, show_default=True, help="Which may be deployed to.")
@click.option("--partition", default=Scope().partition, show_default=True, help="aws, aws-cn or aws-us-gov.")
@click.option("--upload-bucket", default="", help="Of recorded images, which devices put there.  [default: none]")
@click.option("--upload-prefix", default=Scope().upload_prefix, show_default=True, help="In that bucket.")
def iam(role: Optional[str], **scope: str) -> None:
    """Print the least rights of who publishes, who deploys, and of the devices' token exchange role."""
    policies = {name: make(Scope(**scope)) for name, make in ROLES.items()}
    click.echo(json.dumps(policies[role] if role else policies, indent=2))


def _deploy_from_cloud(cloud: Cloud, target: Target, settings: DeploymentSettings, subject: str, options: Any) -> None:
    current = cloud.latest(target)
    before = carried_over(current)
    request = revise(before, settings, subject)
    changes = differences(before, request)
    if current is None:
        click.echo(f"{target}: has no deployment yet")
    else:
        revision, status = current.get("revisionId", "?"), current.get("deploymentStatus", "?")
        click.echo(f"{target}: deployment {current['deploymentId']}, revision {revision}, {status}")
    _show(changes, kept(before, request))
    if options["dry_run"]:
        return
    if changes:
        _agree(options["yes"], f"Revise what {target} runs?" if current else f"Deploy to {target}?")
        created = _create(cloud, target, request, current)
        click.echo(f"deployment {created.deployment}")
    else:
        assert current is not None  # noqa: S101 - a file names something, which a target without a deployment lacks
        created = Created(current["deploymentId"], current.get("iotJobId"))
    if options["wait"]:
        _wait(cloud, target, created, options["timeout"])


def _create(cloud: Cloud, target: Target, request: Any, seen: Any) -> Created:
    """Somebody else may have revised it while a person was reading; then what was shown is no longer true."""
    now = cloud.latest(target)
    if (now or {}).get("deploymentId") != (seen or {}).get("deploymentId"):
        raise DeploymentError(str(target), "was revised by somebody else meanwhile", "Run the command again.")
    return cloud.create(target, request)


def _wait(cloud: Cloud, target: Target, created: Created, timeout: float) -> None:
    outcome = Wait(cloud, target, created, SystemClock(), click.echo).until_done(timeout, _POLL_S)
    if outcome.failed:
        click.echo(f"{len(outcome.failed)} failed, {len(outcome.done)} done", err=True)
        sys.exit(1)
    if not outcome.done:
        click.echo(f"{target} has no core device now; those that join later get the deployment")
        return
    click.echo(f"COMPLETED on {len(outcome.done)} core device(s)")


def _deploy_locally(settings: DeploymentSettings, subject: str, options: Any) -> None:
    kind = find_program(options["nucleus"], options["root"]) or options["nucleus"] or CLASSIC
    found = program(kind, options["root"])
    cli: LocalNucleusCli = ClassicCli(found, _POLL_S) if kind == CLASSIC else LiteCli(found)
    installed = cli.installed()
    versions = versions_for(settings, installed, subject)
    click.echo(f"this device, by {found.path}")
    unchanged = [f"{name} {version}" for name, version in sorted(installed.items())]
    touched = {*settings.components, *settings.remove}
    _show(
        local_differences(settings, versions, installed), [line for line in unchanged if line.split()[0] not in touched]
    )
    ignored = left_out(settings)
    if ignored:
        click.echo(f"without meaning here, left out: {', '.join(ignored)}")
    if options["dry_run"]:
        return
    _agree(options["yes"], "Deploy to this device?")
    deployment = cli.deploy(settings, versions, Places(options["recipes"], options["artifacts"]))
    click.echo(f"deployment {deployment}")
    if options["wait"]:
        click.echo(cli.wait(deployment, options["timeout"], SystemClock()))


def _show(changes: List[str], unchanged: List[str]) -> None:
    for line in changes:
        click.echo(f"  {line}")
    if not changes:
        click.echo("  nothing changes")
    if unchanged:
        click.echo(f"  stays as it is: {', '.join(unchanged)}")


def _agree(yes: bool, question: str) -> None:
    if not yes:
        click.confirm(question, abort=True)
