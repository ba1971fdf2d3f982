"""Publishes the signed list of a fleet's devices, by which devices know whom they take part in sums with."""

from __future__ import annotations

from pathlib import Path

from fedstill_proto.secure_sums.enrolled import EnrolledDevice, EnrolledDevices
from fedstill_proto.system.files import SHARED, replace_file

from fedstill_server.fleet.devices import DeviceRegister
from fedstill_server.fleet.errors import FleetError
from fedstill_server.fleet.folder import FleetFolder
from fedstill_server.publish.repository import Repository
from fedstill_server.run_folder import CONFIG_FILE, ENROLLED_FILE, read_enrolled, read_fleet_config


def publish_devices(fleet: Path) -> EnrolledDevices | None:
    """Sign the list of registered devices anew where it has changed, if the fleet's run sums unseen.

    Args:
        fleet: The fleet's folder.

    Returns:
        The list that is offered now; None where there is no device yet, or the run needs no list.
    """
    folder = FleetFolder.open(fleet)
    registered = [device for device in DeviceRegister(folder.devices).all() if not device.relay_devices]
    if not registered or not _needed(folder.folder):
        return None
    repository, before = Repository.open(folder.folder), read_enrolled(folder.folder)
    devices = [EnrolledDevice(each.name, each.public_key) for each in registered]
    newest = repository.enrolled_version()
    now = EnrolledDevices.of(devices, version=newest + 1)
    if before is not None and (before.version, before.devices) == (newest, now.devices):
        return before
    repository.enrol(now)
    replace_file(folder.folder / ENROLLED_FILE, now.to_bytes(), mode=SHARED)
    return now


def check_relays_may_be(fleet: Path) -> None:
    """Refuse a relay where the server sees sums alone: devices take part with devices that it has signed.

    Raises:
        FleetError: The fleet's run sums unseen.
    """
    if _needed(fleet):
        raise FleetError(
            "--relay-devices: this fleet's run sums unseen (secure sums), and only devices whose keys are "
            "registered here can be in such a sum; those behind a relay are not. Register them here."
        )


def _needed(folder: Path) -> bool:
    return (folder / CONFIG_FILE).exists() and read_fleet_config(folder).secure_sums is not None
