"""Every kind of output: its settings, which a configuration chooses by `type`, and what they set up."""

from __future__ import annotations

from typing import Callable, Dict, Type, Union

from edge_agent.config import Settings
from edge_agent.outputs.base import Output, OutputContext
from edge_agent.outputs.gpio import GpioOutput, GpioOutputSettings
from edge_agent.outputs.jsonl import JsonlOutput, JsonlOutputSettings
from edge_agent.outputs.modbus import ModbusOutput, ModbusOutputSettings
from edge_agent.outputs.mqtt import MqttOutput, MqttOutputSettings
from edge_agent.outputs.opcua import OpcUaOutput, OpcUaOutputSettings
from edge_agent.outputs.plc import PlcOutput, PlcOutputSettings
from edge_agent.outputs.pubsub import PubsubOutput, PubsubOutputSettings
from edge_agent.outputs.webhook import WebhookOutput, WebhookOutputSettings

#: What `to` of an output may hold.
KindSettings = Union[
    GpioOutputSettings,
    ModbusOutputSettings,
    PlcOutputSettings,
    OpcUaOutputSettings,
    MqttOutputSettings,
    WebhookOutputSettings,
    PubsubOutputSettings,
    JsonlOutputSettings,
]

_KINDS: Dict[Type[Settings], Callable[..., Output]] = {
    GpioOutputSettings: GpioOutput,
    ModbusOutputSettings: ModbusOutput,
    PlcOutputSettings: PlcOutput,
    OpcUaOutputSettings: OpcUaOutput,
    MqttOutputSettings: MqttOutput,
    WebhookOutputSettings: WebhookOutput,
    PubsubOutputSettings: PubsubOutput,
    JsonlOutputSettings: JsonlOutput,
}


def make_output(settings: KindSettings, context: OutputContext) -> Output:
    """The output of these settings, not opened yet."""
    return _KINDS[type(settings)](settings, context)
