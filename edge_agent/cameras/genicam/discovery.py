"""Which GenICam cameras there are, and which one a setting means."""

from __future__ import annotations

import ipaddress
from typing import List, NamedTuple

from edge_agent.cameras.genicam.aravis import aravis
from edge_agent.errors import CameraError, CameraNotConnectedError


class Found(NamedTuple):
    """A camera that answered.

    Attributes:
        id: Aravis' name of it: vendor or model with the serial number.
        physical_id: the MAC address, or the USB device's GUID.
        address: the IP address, or the USB vendor and product.
        vendor: who made it.
        model: its model's name.
        serial: its serial number.
        protocol: GigEVision or USB3Vision.
    """

    id: str
    physical_id: str
    address: str
    vendor: str
    model: str
    serial: str
    protocol: str


def discover() -> List[Found]:
    """What answers on the networks and the USB of this machine; takes about a second.

    Raises:
        CameraError: Aravis is not installed.
    """
    library = aravis()
    fields = ("id", "physical_id", "address", "vendor", "model", "serial_nbr", "protocol")
    with library.list_lock:
        library.call("arv_update_device_list")
        return [
            Found(*(library.call(f"arv_get_device_{field}", index) or "" for field in fields))
            for index in range(library.call("arv_get_n_devices"))
        ]


def find(selector: str) -> str:
    """What Aravis opens for the setting `device`: an id or an address.

    Raises:
        CameraNotConnectedError: nothing is attached.
        CameraError: more than one camera fits, or Aravis is not installed.
    """
    if _is_address(selector):
        # No discovery: it costs a second, and a camera behind a router does not answer to it.
        return selector
    found = discover()
    fitting = [camera for camera in found if selector in ("", camera.id, camera.physical_id, camera.serial)]
    if len(fitting) > 1:
        names = ", ".join(f"{camera.id} ({camera.address})" for camera in fitting)
        raise CameraError(_subject(selector), f"{len(fitting)} cameras fit: {names}", "Set `device` to one of them.")
    if fitting:
        return fitting[0].id
    if not selector:
        raise CameraNotConnectedError(_subject(selector), "no camera answers", "Check cable, power and network.")
    # Aravis knows some names that it does not list: the name that a user gave the camera.
    return selector


def _is_address(selector: str) -> bool:
    try:
        ipaddress.ip_address(selector)
    except ValueError:
        return False
    return True


def _subject(selector: str) -> str:
    return f"genicam camera {selector}" if selector else "genicam camera"
