"""An HTTP server that hears of each part at least once: through a spool on disk, in order, signed."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any, Dict, Literal, Optional
from urllib.parse import urlsplit

from edge_agent.backoff import Backoff
from edge_agent.clock import Clock
from edge_agent.config import Settings
from edge_agent.errors import OutputError, OutputNotConnectedError
from edge_agent.outage import Outage
from edge_agent.outputs.base import Action, Output, OutputContext, SafeReason
from edge_agent.outputs.document import to_json
from edge_agent.outputs.http_post import BODY_BYTES, HttpPost, to_body
from edge_agent.spool import Entry, Receipt, Spool, SpoolSettings

_log = logging.getLogger(__name__)

_LOOK_S = 0.2
_CLOSE_S = 0.5
_RETRY_CAP_S = 30.0
_MAX_BODY_BYTES = 1_000_000


class WebhookOutputSettings(Settings, frozen=True, tag_field="type", tag="webhook"):
    """An HTTP server.

    Attributes:
        url: where parts are posted, `https://…` or `http://…`.
        secret_file: a file that holds the secret with which bodies are signed; empty: they are not.
        ca_file: certificates that the server's is checked against; empty: those of the system.
        timeout_s: seconds that the server may take to connect, and to say something more, 0.1 to 60.
        batch: the most parts in one body, 1 to 1000.
        spool_bytes: the largest size of the spool where parts wait, at least 1048576.
        policy: what goes when it is full: `keep_newest`, `keep_oldest` or `keep_anomalies`.
        sync: of that spool: `always`, or `interval`: a power cut may cost the last second.
    """

    url: str
    secret_file: str = ""
    ca_file: str = ""
    timeout_s: float = 5.0
    batch: int = 100
    spool_bytes: int = 104_857_600
    policy: Literal["keep_newest", "keep_oldest", "keep_anomalies"] = "keep_newest"
    sync: Literal["always", "interval"] = "always"

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("`url` must be like https://host/path")
        if parts.username or parts.password:
            raise ValueError("`url` must not hold a password: a configuration is read by many")
        if self.ca_file and parts.scheme != "https":
            raise ValueError("`ca_file` needs an https `url`")
        if not 0.1 <= self.timeout_s <= 60:
            raise ValueError("`timeout_s` must be 0.1 to 60")
        if not 1 <= self.batch <= 1000:
            raise ValueError("`batch` must be 1 to 1000")
        _spool_settings(self)


class WebhookOutput(Output):
    """What is applied is in the spool; a thread takes it from there and tries for ever, with back-off."""

    def __init__(self, settings: WebhookOutputSettings, context: OutputContext) -> None:
        self._settings = settings
        self._context = context
        self._spool: Optional[Spool] = None
        self._delivery: Optional[Delivery] = None

    def open(self) -> None:
        self.close()
        settings, context = self._settings, self._context
        post = HttpPost(settings.url, settings.timeout_s, _secret(settings.secret_file), settings.ca_file)
        spool = Spool(context.directory, _spool_settings(settings), context.clock)
        spool.accounting(context.name)
        spool.start()
        self._spool, self._delivery = spool, Delivery(context, spool, post, settings.batch)
        self._delivery.start()

    def apply(self, action: Action) -> None:
        spool, name = self._spool, self._context.name
        if spool is None or spool.faulty() or (self._delivery is not None and self._delivery.faulty()):
            raise OutputNotConnectedError(f"webhook {name}", "its spool or its delivery has stopped; see the log")
        accounting = spool.accounting(name)
        accounting.capture()
        accounting.inspect()
        anomalous = action.inspection is None or action.inspection.is_anomalous
        spool.put(Entry(name, action.part.sequence or 0, anomalous, to_json(action, self._context.thing)))

    def safe(self, reason: SafeReason) -> None:
        """A server that is told of parts has no state to be in."""

    def close(self) -> None:
        delivery, spool, self._delivery = self._delivery, self._spool, None
        if delivery is not None:
            delivery.close(_CLOSE_S)
        if spool is not None:
            # Kept for the report: what waits in it, waits on disk for the next run.
            spool.close(_CLOSE_S)

    def status(self) -> Dict[str, Any]:
        spool, delivery = self._spool, self._delivery
        if spool is None:
            return {}
        books = spool.accounting(self._context.name).snapshot().as_dict()
        figures = {key: books[key] for key in ("carried", "delivered", "spooled", "expired")}
        return {"delivery": delivery.state() if delivery is not None else "stopped", "spool": figures}


class Delivery:
    """One body at a time, the oldest parts first."""

    def __init__(self, context: OutputContext, spool: Spool, post: HttpPost, batch: int) -> None:
        self._clock: Clock = context.clock
        self._name = context.name
        self._spool = spool
        self._post = post
        self._batch = batch
        self._stop = threading.Event()
        self._waits = threading.Event()
        self._faulty = threading.Event()
        self._backoff = Backoff(cap=_RETRY_CAP_S)
        self._outage = Outage(_log, f"output {context.name}: delivery", output=context.name)
        self._thread = threading.Thread(target=self._run, name=f"output-{context.name}-delivery", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def state(self) -> str:
        """`working`, or `waiting`: the last try failed."""
        return "waiting" if self._waits.is_set() else "working"

    def faulty(self) -> bool:
        """Whether a fault of ours stopped it; the log has the traceback."""
        return self._faulty.is_set()

    def close(self, timeout: float) -> None:
        """End after the body at hand; what is not delivered stays in the spool."""
        self._stop.set()
        self._thread.join(timeout)

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                receipt = self._spool.take(_MAX_BODY_BYTES - BODY_BYTES, self._batch, _LOOK_S)
                if receipt is not None:
                    self._deliver(receipt)
        except Exception:  # noqa: BLE001 - a delivery that died unseen would fill the spool from then on
            _log.exception("output %s: delivery stopped by an internal error", self._name, extra={"output": self._name})
            self._faulty.set()
        finally:
            self._post.close()

    def _deliver(self, receipt: Receipt) -> None:
        try:
            self._post.send(to_body(receipt.bodies), self._clock.wall_ns())
        except OutputError as error:
            receipt.keep()
            self._waits.set()
            self._outage.report(error)
            self._clock.wait(self._stop, self._backoff.next())
        except BaseException:
            receipt.keep()
            raise
        else:
            receipt.delivered()
            self._waits.clear()
            self._outage.over()
            self._backoff.reset()


def _spool_settings(settings: WebhookOutputSettings) -> SpoolSettings:
    return SpoolSettings(bytes=settings.spool_bytes, policy=settings.policy, sync=settings.sync)


def _secret(path: str) -> Optional[bytes]:
    if not path:
        return None
    try:
        secret = Path(path).read_bytes().strip()
    except OSError as error:
        raise OutputError(path, f"cannot be read ({error.strerror})", "Give the inspector the right to.") from error
    if not secret:
        raise OutputError(path, "holds no secret", "Write one into it.")
    return secret
