"""The lanes of an inspector: built from settings, and rebuilt one by one when the settings change."""

from __future__ import annotations

import logging
import threading
from typing import Callable, Dict, List, Mapping

from edge_agent.errors import ConfigError
from edge_agent.lane import Lane, LaneSettings

_log = logging.getLogger(__name__)

MakeLane = Callable[[str, LaneSettings], Lane]


class Lanes:
    """Safe to use from any thread; a change waits for the one before it.

    Args:
        stop_s: seconds that each thread of a lane gets to end.
    """

    def __init__(self, stop_s: float) -> None:
        self._stop_s = stop_s
        self._lock = threading.Lock()
        self._changing = threading.Lock()
        self._lanes: Dict[str, Lane] = {}
        self._open = True

    def now(self) -> Dict[str, Lane]:
        """By name, in the order of the configuration."""
        with self._lock:
            return dict(self._lanes)

    def one(self, name: str) -> Lane:
        """The lane of that name.

        Raises:
            ConfigError: there is none.
        """
        lanes = self.now()
        if name not in lanes:
            raise ConfigError(f"lane {name}", "there is none of that name", f"Use one of: {', '.join(lanes)}.")
        return lanes[name]

    def apply(self, settings: Mapping[str, LaneSettings], make: MakeLane, *, all_anew: bool = False) -> List[str]:
        """Have the lanes that the settings say; gives the names of those that were built, stopped or both.

        A lane whose settings are the same, or can change while it runs, goes on and loses no frame. The others are
        stopped all at once and before any new one starts: two lanes cannot have one camera.
        """
        with self._changing:
            old = self.now()
            anew = {
                name
                for name, lane in old.items()
                if name not in settings or all_anew or lane.settings.needs_new_lane(settings[name])
            }
            for name in anew:
                old[name].stop()
            for name in anew:
                old[name].close(self._stop_s)
            built: List[Lane] = []
            lanes: Dict[str, Lane] = {}
            for name, lane_settings in settings.items():
                if name in old and name not in anew:
                    old[name].update(lane_settings)
                    lanes[name] = old[name]
                else:
                    lanes[name] = make(name, lane_settings)
                    built.append(lanes[name])
            with self._lock:
                self._lanes = lanes
                open_now = self._open
            for lane in built:
                if open_now:
                    lane.start()
            return sorted(anew | {lane.name for lane in built})

    def stop(self) -> None:
        """Stop all lanes, and start none any more."""
        with self._changing:
            with self._lock:
                self._open = False
            lanes = self.now().values()
            for lane in lanes:
                lane.stop()
            for lane in lanes:
                lane.close(self._stop_s)

    def finished(self) -> bool:
        """Whether every camera is at its end. Never in the middle of a change."""
        if not self._changing.acquire(blocking=False):
            return False
        try:
            return all(lane.finished() for lane in self.now().values())
        finally:
            self._changing.release()
