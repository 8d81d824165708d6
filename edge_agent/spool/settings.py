"""Settings of the spool, and where it lies when nobody says."""

from __future__ import annotations

import os
import zlib
from pathlib import Path
from typing import Literal, Optional

from edge_agent.config import Settings

#: The smallest limit: a few pages for the tree, and room for inspections beside them.
MIN_BYTES = 1_048_576


class SpoolSettings(Settings, frozen=True):
    """Where inspections wait for delivery.

    Attributes:
        path: its directory; empty: `spool` in a component's work directory, elsewhere one for each configuration file
            below the XDG state directory.
        bytes: the largest size of its database file. The log beside it has about 4 MiB more.
        sync: `always`: an inspection counts as taken when the disk has it for good; `interval`: the disk gets
            everything at least every `interval_s`, and a power cut may cost what came since.
        interval_s: seconds.
        policy: what expires when there is no room: `keep_newest` (the oldest goes), `keep_oldest` (the new one goes)
            or `keep_anomalies` (the oldest normal one goes, and the oldest anomaly when there are only anomalies).
    """

    path: str = ""
    bytes: int = 1_073_741_824
    sync: Literal["always", "interval"] = "always"
    interval_s: float = 1.0
    policy: Literal["keep_newest", "keep_oldest", "keep_anomalies"] = "keep_newest"

    def __post_init__(self) -> None:
        if self.bytes < MIN_BYTES:
            raise ValueError(f"`bytes` must be at least {MIN_BYTES}")
        if not 0 < self.interval_s <= 3600:
            raise ValueError("`interval_s` must be above 0 and at most 3600")


def spool_directory(settings: SpoolSettings, config_file: Optional[Path] = None) -> Path:
    """The spool's directory: as set, or the default of the place where the inspector runs.

    A Greengrass component keeps it in its work directory, which both nuclei make the current one. Elsewhere it is
    below the XDG state directory, one for each configuration file, so that two lines on one machine do not meet.
    """
    if settings.path:
        return Path(settings.path).absolute()
    state, home = os.environ.get("XDG_STATE_HOME", ""), os.environ.get("HOME", "")
    if "GGC_VERSION" in os.environ or not (state or home):
        return Path("spool").absolute()
    base = Path(state) if Path(state).is_absolute() else Path(home) / ".local" / "state"
    name = "spool"
    if config_file is not None:
        path = config_file.resolve()
        name = f"spool-{path.stem}-{zlib.crc32(str(path).encode('utf-8', 'surrogateescape')):08x}"
    return base / "edge-agent" / name
