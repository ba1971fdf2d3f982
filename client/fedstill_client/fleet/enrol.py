"""Enrols a device: makes its home, its key and its private store, and installs its student.

fleet.json is written last. A device that loses power before that enrols again with the same command, and
keeps the key that it had made.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_ssh_private_key,
)
from fedstill_proto.errors import unknown_name
from fedstill_proto.system.enrolment import Enrolment
from fedstill_proto.system.files import replace_file
from fedstill_proto.task_bounds import Excess

from fedstill_client.device_description import DeviceDescription
from fedstill_client.fleet.membership import (
    Membership,
    MembershipError,
    authority_file,
    device_key,
)
from fedstill_client.home import AgentHome, Encryption
from fedstill_client.packages import InstalledPackage, PackageSource, update
from fedstill_client.privacy.policy import DevicePolicy
from fedstill_client.privacy.statement import pin_statement
from fedstill_client.store import PrivateStore


@dataclass(frozen=True)
class Enrolled:
    """What the operator needs to let the device in, and what is installed."""

    name: str
    public_key: Path
    fingerprint: str  # as `ssh-keygen -l` shows it
    package: InstalledPackage
    refused: tuple[Excess, ...]  # what the fleet will ask, and the policy of the device does not allow


def enrol(
    home: AgentHome,
    enrolment: Enrolment,
    *,
    name: str,
    family: str | None = None,
    encryption: Encryption = "off",
    policy: DevicePolicy | None = None,
) -> Enrolled:
    """Make a home a device of the fleet. Where it fails, it can be called again.

    Args:
        home: The home, which is made if it is not there.
        enrolment: What the operator wrote.
        name: The device's name in the fleet; blanks around it are left out.
        family: The student family; None takes the only one that there is.
        encryption: The encryption of the private store.
        policy: What the device ever does for the fleet; None is the one that the home has, or the default.

    Raises:
        MembershipError: The home is in a fleet already, or the fleet has no such family.
        InvalidValue: The name is none that a fleet takes.
        PackageError: The fleet's package cannot be installed.
        DeviceStoreError: The private store cannot be made.
    """
    if home.fleet.exists():
        raise MembershipError(
            f"{home.folder}: this device is in fleet {Membership.read(home).run} already; to join another, "
            "enrol into a new home."
        )
    description = DeviceDescription(name, _chosen(family, enrolment))
    home.create()
    for folder in (home.keys, home.trust):
        folder.mkdir(exist_ok=True, mode=0o700)
    replace_file(authority_file(home), enrolment.certificate_authority.encode())
    PackageSource.trust_root(home.trust, enrolment.package_root.encode())
    fingerprint = _make_key(home, description.name)
    membership = Membership(run=enrolment.run, address=enrolment.address, repository=enrolment.repository)
    store = (
        PrivateStore.open(home) if home.store.exists() else PrivateStore.create(home, encryption=encryption)
    )
    policy = policy or DevicePolicy.read(home.folder)
    policy.write(home.folder)
    with store:
        source = source_of(home, membership)
        package = update(home, store, source, description.family) or store.installed()
        said = source.statement(description.family)
    assert package is not None
    pin_statement(home.folder, said)
    fields = {"name": description.name, "family": description.family}
    replace_file(home.description, (json.dumps(fields, indent=1) + "\n").encode())
    membership.write(home)
    refused = () if said is None else tuple(policy.excess(said))
    return Enrolled(description.name, device_key(home).with_suffix(".pub"), fingerprint, package, refused)


def source_of(home: AgentHome, membership: Membership) -> PackageSource:
    """Where the fleet's packages come from."""
    return PackageSource.of(membership.repository, home.trust, ca=authority_file(home))


def _chosen(family: str | None, enrolment: Enrolment) -> str:
    if family is None and len(enrolment.families) == 1:
        return enrolment.families[0]
    if family is None:
        raise MembershipError(f"--family: choose one of this fleet's: {', '.join(enrolment.families)}.")
    if family not in enrolment.families:
        raise unknown_name("--family", family, enrolment.families)
    return family


def _make_key(home: AgentHome, name: str) -> str:
    """An EC P-384 key, which Flower asks of a registered device; a key that is there stays."""
    file = device_key(home)
    if file.exists():
        key = load_ssh_private_key(file.read_bytes(), None)
    else:
        key = ec.generate_private_key(ec.SECP384R1())
        replace_file(file, key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    replace_file(file.with_suffix(".pub"), public + f" {name}\n".encode(), mode=0o644)
    digest = hashlib.sha256(base64.b64decode(public.split()[1])).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")
