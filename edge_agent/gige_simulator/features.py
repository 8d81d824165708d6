"""The features of the simulated camera: one table from which its registers and its GenICam description both come.

Names, units and categories are those of the Standard Features Naming Convention (SFNC) of the EMVA.
"""

from __future__ import annotations

from typing import Dict, List, Mapping, NamedTuple, Tuple, Union
from xml.sax.saxutils import escape

from edge_agent.gige_simulator.formats import WIRE_FORMATS

Number = Union[int, float]

FIRST_ADDRESS = 0x10000
DESCRIPTION_ADDRESS = 0x20000

# Every feature has so many bytes of its own, however few it uses.
_STEP = 8


class Feature(NamedTuple):
    """One feature.

    Attributes:
        name: in the SFNC.
        category: where viewers show it.
        kind: Integer, Float, Enumeration or Command.
        least: smallest value.
        most: largest value; a name: that feature's value.
        step: between two values of an Integer.
        entries: of an Enumeration, by name.
        writable: by the controller.
        unit: of a Float.
    """

    name: str
    category: str
    kind: str
    least: Number = 0
    most: Union[Number, str] = 0
    step: int = 1
    entries: Mapping[str, int] = {}
    writable: bool = True
    unit: str = ""

    @property
    def size(self) -> int:
        return 8 if self.kind == "Float" else 4


_IMAGE, _ACQUISITION, _ANALOG = "ImageFormatControl", "AcquisitionControl", "AnalogControl"
_LONGEST_US = 1e6

FEATURES: Tuple[Feature, ...] = (
    Feature("SensorWidth", _IMAGE, "Integer", 64, 4096, writable=False),
    Feature("SensorHeight", _IMAGE, "Integer", 64, 4096, writable=False),
    Feature("Width", _IMAGE, "Integer", 64, "SensorWidth", step=2),
    Feature("Height", _IMAGE, "Integer", 64, "SensorHeight", step=2),
    Feature("OffsetX", _IMAGE, "Integer", 0, "SensorWidth", step=2),
    Feature("OffsetY", _IMAGE, "Integer", 0, "SensorHeight", step=2),
    Feature("PixelFormat", _IMAGE, "Enumeration", entries={name: known.code for name, known in WIRE_FORMATS.items()}),
    Feature("AcquisitionMode", _ACQUISITION, "Enumeration", entries={"Continuous": 0}),
    Feature("AcquisitionStart", _ACQUISITION, "Command"),
    Feature("AcquisitionStop", _ACQUISITION, "Command"),
    Feature("AcquisitionFrameRate", _ACQUISITION, "Float", 0.1, 1000.0, unit="Hz"),
    Feature("TriggerSelector", _ACQUISITION, "Enumeration", entries={"FrameStart": 0}),
    Feature("TriggerMode", _ACQUISITION, "Enumeration", entries={"Off": 0, "On": 1}),
    Feature("TriggerSource", _ACQUISITION, "Enumeration", entries={"Software": 0, "Line1": 1}),
    Feature(
        "TriggerActivation", _ACQUISITION, "Enumeration", entries={"RisingEdge": 0, "FallingEdge": 1, "AnyEdge": 2}
    ),
    Feature("TriggerDelay", _ACQUISITION, "Float", 0.0, _LONGEST_US, unit="us"),
    Feature("TriggerSoftware", _ACQUISITION, "Command"),
    Feature("ExposureAuto", _ACQUISITION, "Enumeration", entries={"Off": 0, "Continuous": 1}),
    Feature("ExposureTime", _ACQUISITION, "Float", 10.0, _LONGEST_US, unit="us"),
    Feature("Gain", _ANALOG, "Float", 0.0, 24.0, unit="dB"),
    Feature("PayloadSize", "TransportLayerControl", "Integer", 0, 2**31 - 1, writable=False),
)

ADDRESSES: Dict[str, int] = {feature.name: FIRST_ADDRESS + _STEP * index for index, feature in enumerate(FEATURES)}
BY_ADDRESS: Dict[int, Feature] = {ADDRESSES[feature.name]: feature for feature in FEATURES}

# Text of the device itself, where GigE Vision has it: name, address, length.
_TEXTS = (
    ("DeviceVendorName", 0x48, 32, "RO"),
    ("DeviceModelName", 0x68, 32, "RO"),
    ("DeviceVersion", 0x88, 32, "RO"),
    ("DeviceSerialNumber", 0xD8, 16, "RO"),
    ("DeviceUserID", 0xE8, 16, "RW"),
)


# GigE Vision's register of the packet size: a flag in its highest bit, the size in its lower half.
_PACKET_SIZE = 0xD04


def describe(vendor: str, model: str) -> bytes:
    """The camera's GenICam description: an XML document in the GenApi 1.1 schema."""
    categories: Dict[str, List[str]] = {"DeviceControl": [name for name, *_ in _TEXTS]}
    for feature in FEATURES:
        categories.setdefault(feature.category, []).append(feature.name)
    categories["TransportLayerControl"] += ["GevSCPSPacketSize", "GevSCPSFireTestPacket"]
    body = [_category("Root", list(categories))]
    body += [_category(name, names) for name, names in categories.items()]
    body += [_text(*text) for text in _TEXTS]
    body += [_feature(feature) for feature in FEATURES]
    body += _packet_size()
    body.append('<Port Name="Device" NameSpace="Standard"/>')
    head = (
        '<?xml version="1.0" encoding="utf-8"?>\n'
        f'<RegisterDescription ModelName="{escape(model)}" VendorName="{escape(vendor)}" StandardNameSpace="GEV" '
        'SchemaMajorVersion="1" SchemaMinorVersion="1" SchemaSubMinorVersion="0" MajorVersion="1" MinorVersion="0" '
        'SubMinorVersion="0" ProductGuid="9f1d6d3c-6f3e-4b52-9a5e-0c5f5a0f1c11" '
        'VersionGuid="0d8b5ad0-57b8-4b0b-8b5c-6a2b5f5f8a21" xmlns="http://www.genicam.org/GenApi/Version_1_1">\n'
    )
    return (head + "\n".join(body) + "\n</RegisterDescription>\n").encode()


def _category(name: str, members: List[str]) -> str:
    return _node("Category", name, *(f"<pFeature>{member}</pFeature>" for member in members))


def _text(name: str, address: int, length: int, access: str) -> str:
    return _node("StringReg", name, *_place(address, length, access))


def _feature(feature: Feature) -> str:
    register = f"{feature.name}Register"
    access = "RW" if feature.writable else "RO"
    place = _place(ADDRESSES[feature.name], feature.size, access)
    value = f"<pValue>{register}</pValue>"
    if feature.kind == "Float":
        limits = (f"<Min>{feature.least}</Min>", f"<Max>{feature.most}</Max>", f"<Unit>{feature.unit}</Unit>")
        number = _node("FloatReg", register, *place, "<Endianess>BigEndian</Endianess>")
        return _node("Float", feature.name, value, *limits) + "\n" + number
    number = _node("IntReg", register, *place, "<Sign>Unsigned</Sign>", "<Endianess>BigEndian</Endianess>")
    if feature.kind == "Command":
        return _node("Command", feature.name, value, "<CommandValue>1</CommandValue>") + "\n" + number
    if feature.kind == "Enumeration":
        entries = (_node("EnumEntry", name, f"<Value>{code}</Value>") for name, code in feature.entries.items())
        return _node("Enumeration", feature.name, *entries, value) + "\n" + number
    most = f"<pMax>{feature.most}</pMax>" if isinstance(feature.most, str) else f"<Max>{feature.most}</Max>"
    return (
        _node("Integer", feature.name, value, f"<Min>{feature.least}</Min>", most, f"<Inc>{feature.step}</Inc>")
        + "\n"
        + number
    )


def _packet_size() -> List[str]:
    """The size of packets, and the command to send one as a trial; GenICam counts bits from the highest one."""
    place = (*_place(_PACKET_SIZE, 4, "RW"), "<Endianess>BigEndian</Endianess>")
    size = ("<pValue>GevSCPSPacketSizeRegister</pValue>", "<Min>576</Min>", "<Max>65532</Max>", "<Inc>4</Inc>")
    trial = ("<pValue>GevSCPSFireTestPacketRegister</pValue>", "<CommandValue>1</CommandValue>")
    return [
        _node("Integer", "GevSCPSPacketSize", *size),
        _node("MaskedIntReg", "GevSCPSPacketSizeRegister", *place, "<LSB>31</LSB>", "<MSB>16</MSB>"),
        _node("Command", "GevSCPSFireTestPacket", *trial),
        _node("MaskedIntReg", "GevSCPSFireTestPacketRegister", *place, "<Bit>0</Bit>"),
    ]


def _place(address: int, length: int, access: str) -> Tuple[str, ...]:
    return (
        f"<Address>0x{address:x}</Address>",
        f"<Length>{length}</Length>",
        f"<AccessMode>{access}</AccessMode>",
        "<pPort>Device</pPort>",
        # Others change them too: the camera itself, and a controller before this one.
        "<Cachable>NoCache</Cachable>",
    )


def _node(kind: str, name: str, *children: str) -> str:
    return f'<{kind} Name="{name}" NameSpace="Standard">' + "".join(children) + f"</{kind}>"
