"""Writes the enrolment that devices join a fleet with."""

from __future__ import annotations

from fedstill_proto.system.enrolment import Enrolment

from fedstill_server.fleet.certificates import authority_file
from fedstill_server.fleet.errors import FleetError
from fedstill_server.fleet.folder import REPOSITORY_PATH, FleetFolder
from fedstill_server.publish.repository import Repository


def enrolment_of(fleet: FleetFolder) -> Enrolment:
    """What devices need to know of a fleet; raises FleetError before a student is published."""
    repository, settings = Repository.open(fleet.folder), fleet.settings
    families = tuple(sorted(repository.published()))
    if not families:
        raise FleetError(f"no student is published yet; run: fedstill-server publish {fleet.folder}")
    served = (
        f"https://{settings.address}{REPOSITORY_PATH}" if settings.proxy else str(fleet.repository.resolve())
    )
    return Enrolment(
        run=fleet.run,
        address=settings.address,
        repository=served,
        families=families,
        certificate_authority=authority_file(fleet).read_text(),
        package_root=repository.trusted_root().decode(),
    )
