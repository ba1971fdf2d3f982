"""`fedstill.audit`: attacks on what a fleet would really send, beside what is promised."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedstill_proto.system.extras import require_extra

if TYPE_CHECKING:
    from fedstill_sim.audit.result import AuditResult

    from fedstill.chosen import AnyMethod, AnyTeacher
    from fedstill.fleet import Fleet
    from fedstill.models import Network, Student


def audit(
    fleet: Fleet,
    *,
    students: Sequence[Student | Network] = (),
    method: AnyMethod = "fedstill",
    teacher: AnyTeacher | None = None,
    shadows: int = 128,
    runs: int = 128,
    watch: str | None = None,
    **options: Any,
) -> AuditResult:
    """Attack what a configuration would really send of a device, and say how much the attacks find.

    The fleet is run as it is configured. One device of it is watched, and shadow devices with private sets
    of the adversary's choice do the very tasks that the server sent to it, by the device's own code.

    Args:
        fleet: The devices with their examples.
        students: As for `simulate`.
        method: As for `simulate`.
        teacher: As for `simulate`.
        shadows: Shadow devices of each kind from which the adversary learns.
        runs: Answers of each kind that the attacks are counted on.
        watch: The name of the device that is watched; by default one with a middling number of examples.
        **options: What `simulate` takes, such as rounds, seed, privacy and epsilon; `out` is a folder for
            audit.json and audit.html.

    Returns:
        The figures of each attack with their intervals; `broken` says, in words, why a promise is false.

    Raises:
        FedstillError: An argument does not fit; the text names it.
        MissingExtra: fedstill[sim] is not installed.

    Example:
        >>> import fedstill as fs
        >>> fleet = fs.datasets.digits(devices=4)
        >>> found = fs.audit(fleet, students=["mlp-small"], rounds=1, shadows=16, runs=16, processes=0)
        >>> found.broken
        ''
    """
    require_extra("sim", what="fedstill.audit")
    from fedstill_sim.audit.run_audit import audit_fleet
    from fedstill_sim.options import AuditOptions
    from rich.console import Console

    from fedstill.simulation.simulate import checked_run

    options = {"rounds": None, "seed": 0, **options}
    how = AuditOptions(shadows=shadows, runs=runs, watch=watch)
    where, data, config = checked_run(fleet, students=students, method=method, teacher=teacher, **options)
    out = None if where.out is None else Path(where.out)
    return audit_fleet(data, config, how, out=out, console=Console(stderr=True, quiet=not where.progress))
