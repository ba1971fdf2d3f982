"""Which students an app speaks of, by the names that messages carry, and which of them a device has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from fedstill_client.device_description import DeviceError
from fedstill_proto.errors import unknown_name
from fedstill_server.config.codec import ConfigError

from fedstill.chosen import as_students, family_of_student

if TYPE_CHECKING:
    from fedstill.models import Network, Student

    Students = Student | Network | Sequence[Student | Network]

FAMILY_KEY = "fedstill-family"  # of a node's configuration


def families_of(students: Students) -> dict[str, str]:
    """Each family's name, and where it lies, "module:name"; "" if it is built in, or of this process alone.

    The names stand for these networks in this process from now on.

    Raises:
        FedstillError: A name stands for nothing, or is given twice.
    """
    found: dict[str, str] = {}
    for student in as_students(students):
        name, place = family_of_student(student)
        if name in found:
            raise ConfigError(f"students: {name!r} is named twice; give one of them another name=")
        found[name] = place
    if not found:
        raise ConfigError("students: none given; name a family, or give a class of torch modules")
    return found


def family_of_device(students: Students, device: str, node_config: Mapping[str, object]) -> str:
    """The family of a device: what its node's configuration says, or whose `devices` name it, or its turn.

    Raises:
        FedstillError: It is none of the students, or nothing says which one.
    """
    families = tuple(families_of(students))
    if FAMILY_KEY in node_config:
        named = str(node_config[FAMILY_KEY])
        if named not in families:
            raise unknown_name(FAMILY_KEY, named, families)
        return named
    dealt = []
    for family, student in zip(families, as_students(students), strict=True):
        if device in student.devices:
            return family
        if not student.devices:
            dealt.append(family)
    if len(dealt) == 1:
        return dealt[0]
    if dealt and "partition-id" in node_config:
        return dealt[int(str(node_config["partition-id"])) % len(dealt)]
    raise DeviceError(
        f"{device}: nothing says which student it has; give its node --node-config "
        f"'{FAMILY_KEY}=\"{families[0]}\"' or one of {', '.join(families)}."
    )
