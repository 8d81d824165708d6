"""Settings of the conversation with the nucleus, and with what calls over HTTP."""

from __future__ import annotations

import re
from typing import Literal, Tuple

from edge_agent.agent.figures.catalogue import CATALOGUE
from edge_agent.config import Settings

#: With beats this far apart, a way that breaks is called unconfirmed within a minute.
_MAX_BEAT_S = 60.0
_MAX_UNCONFIRMED_S = 3600.0

# CloudWatch keeps one value a minute, or one a second for more money; faster than this only costs.
_MIN_FIGURES_S = 10

_NAMESPACE = re.compile(r"[A-Za-z0-9.\-_/#][A-Za-z0-9.\-_/#:]{0,254}")


class CommandSettings(Settings, frozen=True):
    """Commands from outside; docs/operations.md lists them.

    Attributes:
        sources: where commands may come from: `iot_core` (AWS IoT Core), `local` (Greengrass's local
            publish/subscribe); an empty list: nowhere.
        topic: where commands come in; `{thing}` stands for the thing's name.
        replies: where each is answered.
    """

    sources: Tuple[Literal["iot_core", "local"], ...] = ("iot_core", "local")
    topic: str = "edge-agent/{thing}/commands"
    replies: str = "edge-agent/{thing}/replies"


class HealthSettings(Settings, frozen=True):
    """The health message: on start, on change, and every so often.

    Attributes:
        topic: of AWS IoT Core; `{thing}` stands for the thing's name.
        every_s: seconds from one to the next, 10 to 86400; 0: no health messages.
    """

    topic: str = "edge-agent/{thing}/health"
    every_s: float = 60.0

    def __post_init__(self) -> None:
        if self.every_s != 0 and not 10 <= self.every_s <= 86400:
            raise ValueError("`every_s` must be 10 to 86400, or 0 for none")


class ConfirmSettings(Settings, frozen=True):
    """Whether inspections arrive: a heartbeat goes to AWS IoT Core and must come back.

    Attributes:
        by: `none`, or `echo`.
        topic: of the heartbeat; `{thing}` stands for the thing's name.
        every_s: seconds between heartbeats, 1 to 60.
        unconfirmed_after_s: a heartbeat that is not back after so many seconds means: delivery unconfirmed.
    """

    by: Literal["none", "echo"] = "none"
    topic: str = "edge-agent/{thing}/echo"
    every_s: float = 10.0
    unconfirmed_after_s: float = 45.0

    def __post_init__(self) -> None:
        if not 1 <= self.every_s <= _MAX_BEAT_S:
            raise ValueError(f"`every_s` must be 1 to {_MAX_BEAT_S:g}")
        if not self.every_s < self.unconfirmed_after_s <= _MAX_UNCONFIRMED_S:
            raise ValueError(f"`unconfirmed_after_s` must be above `every_s` and at most {_MAX_UNCONFIRMED_S:g}")


class UpdateSettings(Settings, frozen=True):
    """Updates of this component that a deployment announces; the classic nucleus alone asks.

    Attributes:
        defer_at_most_s: seconds that one deployment may be put off while a part is being inspected or the line holds
            updates; 0: never.
        recheck_s: seconds after which the nucleus asks again.
    """

    defer_at_most_s: float = 300.0
    recheck_s: float = 5.0

    def __post_init__(self) -> None:
        if not 0 <= self.defer_at_most_s <= 86400:
            raise ValueError("`defer_at_most_s` must be 0 to 86400")
        if not 0.1 <= self.recheck_s <= 3600:
            raise ValueError("`recheck_s` must be 0.1 to 3600")


class CloudwatchSettings(Settings, frozen=True):
    """The inspector's figures for Amazon CloudWatch, through the component aws.greengrass.Cloudwatch; docs/inspector-figures.md.

    Attributes:
        every_s: seconds from one reading to the next, 10 to 86400; 0: none.
        topic: the local topic on which that component takes metrics; `{thing}` stands for the thing's name.
        namespace: of the metrics in CloudWatch.
        names: of the figures that are sent; an empty list: all. Each series is a custom metric, which CloudWatch charges.
    """

    every_s: float = 0.0
    topic: str = "cloudwatch/metric/put"
    namespace: str = "EdgeAgent"
    names: Tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.every_s != 0 and not _MIN_FIGURES_S <= self.every_s <= 86400:
            raise ValueError(f"`every_s` must be {_MIN_FIGURES_S} to 86400, or 0 for none")
        if not _NAMESPACE.fullmatch(self.namespace) or self.namespace.startswith("AWS/"):
            raise ValueError(
                "`namespace` must be 1 to 255 letters, digits and . - _ / # :, not begin with a colon or AWS/"
            )
        for name in self.names:
            if name not in CATALOGUE:
                raise ValueError(f"`names`: there is no figure {name}")


class HttpSettings(Settings, frozen=True):
    """What the inspector serves over HTTP: figures and health (docs/inspector-figures.md), triggers (docs/triggers.md).

    Attributes:
        address: `HOST:PORT`, such as 127.0.0.1:9465; empty: nothing is served.
        token_file: holds the token that each request must bear; made, with a new token, where it is not there.
        certificate: PEM file for HTTPS; empty: plain HTTP.
        key: PEM file of its key, without a passphrase.
    """

    address: str = ""
    token_file: str = ""
    certificate: str = ""
    key: str = ""

    def __post_init__(self) -> None:
        if bool(self.certificate) != bool(self.key):
            raise ValueError("`certificate` and `key` belong together")
        if bool(self.address) != bool(self.token_file):
            raise ValueError("`address` and `token_file` belong together")
