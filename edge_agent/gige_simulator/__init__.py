"""A GigE Vision camera in software: to try a line without a camera, and to test with real packets. docs/genicam.md."""

from __future__ import annotations

from edge_agent.gige_simulator.camera import SimulatedCamera
from edge_agent.gige_simulator.settings import SimulatorSettings

__all__ = ["SimulatedCamera", "SimulatorSettings"]
