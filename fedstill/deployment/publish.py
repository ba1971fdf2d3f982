"""`fedstill.publish`: students signed and offered to the devices of a fleet."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fedstill_proto.system.extras import require_extra

from fedstill.deployment.distill import Distilled
from fedstill.models import PackagedStudent
from fedstill.simulation.result import Result

if TYPE_CHECKING:
    from fedstill_server.publish.repository import PublishedStudent

    Publishable = Result | Distilled | PackagedStudent | Path | str


def publish(
    students: Publishable | Sequence[Publishable] | None, fleet: Path | str, *, families: Sequence[str] = ()
) -> list[PublishedStudent]:
    """Sign students with a fleet's keys, and offer them to its devices, as `fedstill-server publish` does.

    All packages of one call get the same new version, and become visible together. The students take the
    place of the fleet's own, from which its next rounds go on.

    Args:
        students: A student, what `fedstill.distill` made, a run with all its students, the folder of a
            package, or several of these. None publishes the newest students of the fleet itself.
        fleet: The fleet's folder, as `fedstill-server init` made it; the fleet must not be up where its
            students are replaced.
        families: Which families to publish; by default those of the students, or all of the fleet.

    Returns:
        What the fleet's devices are offered: family, version and bytes of each package.

    Raises:
        FedstillError: The fleet has no such family or one of another shape, is up, or was not made.
        MissingExtra: fedstill[server] is not installed.

    Example:
        >>> small = fs.distill(network, public=x, test=test)  # doctest: +SKIP
        >>> fs.publish(small, "fleets/kitchen")  # doctest: +SKIP
    """
    require_extra("server", what="fedstill.publish")
    from fedstill_server.fleet.handover import hand_over
    from fedstill_server.publish.students import publish_students

    given: list[Publishable] = []
    if isinstance(students, Sequence) and not isinstance(students, str):
        given = list(students)
    elif students is not None:
        given = [students]
    with tempfile.TemporaryDirectory(prefix="fedstill-") as scratch:
        folders = [
            folder for place, one in enumerate(given) for folder in _folders(one, Path(scratch) / str(place))
        ]
        replaced = hand_over(Path(fleet), folders) if folders else []
    return publish_students(Path(fleet), families or replaced)


def _folders(students: Publishable, scratch: Path) -> list[Path]:
    """The folders of packages; one that lies nowhere yet is written."""
    if isinstance(students, Result):
        return [students.folder / "students" / family for family in students.run.students]
    if isinstance(students, Distilled):
        return [students.package]
    if isinstance(students, PackagedStudent):
        return [students.save(scratch)]
    return [Path(students)]
