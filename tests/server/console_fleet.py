"""A fleet's folder as a console finds it: rounds, devices, events and acts, with nothing trained."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from fedstill_server.fleet.certificates import create_authority, renew_server_certificate
from fedstill_server.fleet.devices import DeviceRegister
from fedstill_server.fleet.folder import FleetFolder, FleetSettings
from fedstill_server.operations.audit import AuditLog
from fedstill_server.operations.database import FleetDatabase
from fedstill_server.publish.repository import Repository
from fedstill_server.rounds.round_record import DeviceAccuracy, Quarantined, RoundRecord
from fedstill_server.rounds.run_store import RunStore
from fedstill_server.state import FleetState

from tests.server.scripted_fleet import fleet_config, write_run

NOW = 1_800_000_000.0
HOSTILE = "<script>document.body.dataset.hacked = 1</script>"
DEVICES = ("kitchen", "attic", HOSTILE)
STATE = FleetState(
    teacher={"w": np.zeros(2, np.float32)}, students={"mlp-small": {"w": np.zeros(2, np.float32)}}
)


def round_record(number: int, *, student: float = 0.8, bad: int = 0, **changes: object) -> RoundRecord:
    """A round of three devices, in which the last `bad` were left out."""
    counted = DEVICES[: 3 - bad]
    facts: dict[str, object] = {
        "round": number,
        "seconds": 2.0,
        "asked": 3,
        "replied": 3,
        "accepted": len(counted),
        "late": 0,
        "quarantined": tuple(
            Quarantined(device=name, node="7", reason="bad-values", text=f"{HOSTILE}: not finite")
            for name in DEVICES[3 - bad :]
        ),
        "uplink_bytes": 300,
        "downlink_bytes": 6000,
        "evaluation_bytes": 0,
        "uplink_bytes_per_device": 100.0,
        "downlink_bytes_per_device": 2000.0,
        "personal_accuracy": 0.7,
        "global_accuracy": None,
        "worst_device_accuracy": 0.5,
        "devices": {
            name: DeviceAccuracy(personal=share, everyone=None)
            for name, share in zip(DEVICES, (0.5, 0.7, 0.9), strict=True)
        },
        "teacher_accuracy": 0.9,
        "consensus_digest": "0" * 64,
        "present": 3,
        "counted": counted,
        "student_accuracy": {"mlp-small": student},
        "test_examples": 500,
        "personal_examples": 96,
    }
    return RoundRecord(**{**facts, **changes})  # type: ignore[arg-type]


def commit(folder: Path, record: RoundRecord, *, at: float = NOW) -> None:
    """Commit a round at a time."""
    store = RunStore(folder)
    store.commit(record.round, STATE, record=record)
    os.utime(folder / "server" / "rounds" / f"round-{record.round:06d}.json", (at, at))


def make_fleet(folder: Path, *, rounds: int = 3) -> FleetFolder:
    """A fleet of three registered devices, of which two are there, after some rounds a minute apart."""
    fleet = FleetFolder.create(folder, FleetSettings(host="127.0.0.1", port=8443, superlink_port=8000))
    create_authority(fleet)
    renew_server_certificate(fleet)
    Repository.create(folder)
    write_run(folder, fleet_config(rounds=60))
    RunStore(folder).commit(0, STATE)
    for number in range(1, rounds + 1):
        commit(folder, round_record(number, bad=number % 2), at=NOW - 60.0 * (rounds - number))
    with FleetDatabase.open(folder, clock=lambda: NOW) as database:
        for place, name in enumerate(DEVICES):
            key = ec.generate_private_key(ec.SECP384R1()).public_key()
            file = folder / "device.pub"
            file.write_bytes(key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH))
            DeviceRegister(fleet.devices).add(file, name)
            database.note_device(name, online=place > 0, last_seen_at=NOW - 60, package_version=2)
        database.tell("note", f"let {HOSTILE} in")
    AuditLog(folder).append("register", name=HOSTILE)
    return fleet
