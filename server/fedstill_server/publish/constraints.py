"""What a fleet's packages suppress: constraints.json in the fleet's folder, which no generation changes.

It grows by the lists that an operator gives (`--suppress`) and by those of packages that are handed over;
only what a list lifts by name leaves it.
"""

from __future__ import annotations

from pathlib import Path

from fedstill_proto.errors import WireError
from fedstill_proto.package.artifact import CONSTRAINTS_FILE, MANIFEST_FILE, StudentPackage, load_student
from fedstill_proto.package.constraints.constraints import NO_CONSTRAINTS, Constraints, read_constraints
from fedstill_proto.package.constraints.union import dropped, renewed
from fedstill_proto.system.files import SHARED
from fedstill_proto.system.folder_digests import FolderDigests

from fedstill_server.publish.errors import PublishError


def folder_constraints(folder: Path) -> Constraints:
    """The list of a fleet, a run, a package or a model in a folder; raises PublishError for a wrong one."""
    if (folder / MANIFEST_FILE).is_file():
        try:
            return constraints_of(load_student(folder))
        except WireError as error:
            raise PublishError(f"{folder}: {error}") from None
    path = folder / CONSTRAINTS_FILE
    if not path.is_file():
        return NO_CONSTRAINTS
    try:
        return read_constraints(path)
    except WireError as error:
        raise PublishError(str(error)) from None


def constraints_of(package: StudentPackage) -> Constraints:
    """The list of a package; raises PublishError for a wrong one."""
    if package.constraints is None:
        return NO_CONSTRAINTS
    try:
        return Constraints.from_json(package.constraints)
    except WireError as error:
        raise PublishError(f"{package.manifest.family}: {error}") from None


def suppress_in_fleet(fleet: Path, given: Constraints) -> Constraints:
    """Have all later packages of a fleet suppress what a list says, and no longer what it lifts."""
    before = folder_constraints(fleet)
    after = renewed(before, given)
    if after != before:
        FolderDigests(fleet).write(fleet / CONSTRAINTS_FILE, after.to_json(), mode=SHARED)
    return after


def check_kept(before: Constraints, package: StudentPackage) -> None:
    """Raise PublishError where a package leaves out what its predecessor binds it to."""
    left_out = dropped(before, constraints_of(package))
    if left_out:
        raise PublishError(
            f"{package.manifest.family}: the package no longer suppresses {', '.join(left_out)[:300]}, which "
            "the published one binds it to, and devices would refuse it; name it as `lifted` in a list: "
            "fedstill-server publish --suppress FILE"
        )
