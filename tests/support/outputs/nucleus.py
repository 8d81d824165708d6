"""The local nucleus as a peer of local topics."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Dict, List, Optional

import yaml
from support.outputs.parts import THING
from support.outputs.peer import Peer

from edge_agent.greengrass.ipc import IpcClient
from edge_agent.greengrass.nucleus import LocalNucleus

RECIPE = Path(__file__).parents[3] / "recipe" / "inspector.yaml"


class NucleusPeer(Peer):
    """The local nucleus with the shipped recipe, and another component that listens."""

    name = "pubsub"
    has_state = False

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.messages: List[bytes] = []
        self._nucleus: Optional[LocalNucleus] = None
        self._listener: Optional[IpcClient] = None
        self._token: Optional[str] = None

    def settings(self) -> Dict[str, Any]:
        return {"type": "pubsub", "timeout_s": 1}

    def start(self) -> None:
        self._nucleus = LocalNucleus(self.directory / "nucleus.sock", recipe=self._recipe(), thing=THING)
        self._nucleus.start()
        os.environ.update(self._nucleus.environment())
        self._listener = IpcClient.connect()
        self._listener.subscribe_to_topic(
            f"edge-agent/{THING}/outputs/inspections", lambda _topic, payload: self.messages.append(payload)
        )

    def _recipe(self) -> Path:
        """The shipped one, for a component that may also listen to everything."""
        recipe = yaml.safe_load(RECIPE.read_text())
        rules = recipe["ComponentConfiguration"]["DefaultConfiguration"]["accessControl"]["aws.greengrass.ipc.pubsub"]
        rules["com.edgeagent.Inspector:pubsub:2"]["resources"] = ["*"]
        copy = self.directory / "inspector.json"
        copy.write_text(json.dumps(recipe))
        return copy

    def stop(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        if self._nucleus is not None:
            for name in self._nucleus.environment():
                os.environ.pop(name, None)
            self._nucleus.stop()
            self._nucleus = None

    def applied(self) -> int:
        return len(self.messages)
