"""The `edge-agent` command: one small module per verb, imported only when its verb is used."""

from __future__ import annotations

import importlib
import sys
from typing import Dict, List, Optional

import click

from edge_agent import __version__
from edge_agent.cli.logs import report_error
from edge_agent.errors import ConfigError, EdgeAgentError

# verb: module:attribute, in the order the help shows them
_VERBS: Dict[str, str] = {
    "config": "edge_agent.cli.config:config",
    "demo": "edge_agent.cli.demo:demo",
    "run": "edge_agent.cli.run:run",
    "serve": "edge_agent.cli.serve:serve",
    "models": "edge_agent.cli.models:models",
    "detect": "edge_agent.cli.detect:detect",
    "cameras": "edge_agent.cli.cameras:cameras",
    "camera-simulator": "edge_agent.cli.camera_simulator:camera_simulator",
    "plc-simulator": "edge_agent.cli.plc_simulator:plc_simulator",
    "train": "edge_agent.cli.train:train",
    "evaluate": "edge_agent.cli.evaluate:evaluate_command",
    "package": "edge_agent.cli.package:package",
    "spool": "edge_agent.cli.spool:spool",
    "packaging": "edge_agent.cli.packaging:packaging",
    "recipe": "edge_agent.cli.recipe:recipe",
    "deploy": "edge_agent.cli.deploy:deploy",
    "doctor": "edge_agent.cli.doctor:doctor",
    "nucleus": "edge_agent.cli.nucleus:nucleus",
    "nucleus-control": "edge_agent.cli.nucleus_control:nucleus_control",
}


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> List[str]:  # noqa: ARG002 - click's signature
        return list(_VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> Optional[click.Command]:  # noqa: ARG002 - click's signature
        target = _VERBS.get(cmd_name)
        if target is None:
            return None
        module, attribute = target.split(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)  # noqa: S101 - a typo in _VERBS, not user input
        return command


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="edge-agent")
def cli() -> None:
    """Visual inspection at the edge on AWS IoT Greengrass."""


def main() -> None:
    """Run the command line; an error of ours is one line on stderr, never a traceback.

    Exit codes: 0 well, 1 failed, 2 wrong arguments or configuration, 130 interrupted.
    """
    try:
        cli(prog_name="edge-agent", standalone_mode=False)
    except ConfigError as error:
        _fail(str(error), 2)
    except EdgeAgentError as error:
        _fail(str(error), 1)
    except click.exceptions.Exit as leave:
        sys.exit(leave.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        _fail("interrupted", 130)


def _fail(text: str, code: int) -> None:
    report_error(text)
    sys.exit(code)
