"""`fedstill.simulate`: a run of a fleet in memory, from arguments to its result."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedstill_proto.system.extras import require_extra

from fedstill.simulation.result import Result

if TYPE_CHECKING:
    from fedstill_sim.config import RunConfig
    from fedstill_sim.data.fleet import FleetData

    from fedstill.chosen import AnyMethod, AnyTeacher
    from fedstill.fleet import Fleet
    from fedstill.models import Network, Student
    from fedstill.simulation.asked import OnRound, Surroundings


def simulate(
    fleet: Fleet,
    *,
    students: Sequence[Student | Network] = (),
    method: AnyMethod = "fedstill",
    teacher: AnyTeacher | None = None,
    rounds: int | None = None,
    seed: int = 0,
    on_round: OnRound | Sequence[OnRound] | None = None,
    **options: Any,
) -> Result:
    """Run a method on a virtual fleet, by the code that devices and the server really run.

    Arguments are checked before anything is trained. The same arguments give the same result, bit for bit,
    however many processes work on it. Worker processes never import the calling program: a script needs no
    `if __name__ == "__main__"`, and notebooks may use them.

    Args:
        fleet: The devices with their examples.
        students: What devices learn: names of families, classes of torch modules, or `Student` objects.
            They are dealt out to devices in turn; by default mlp-small, mlp-wide and cnn are.
        method: How the fleet learns: an object of `fedstill.methods`, or a name.
        teacher: What learns from the fleet on the server: a torch module, a `Teacher` object, or a name; by
            default a perceptron.
        rounds: How many rounds there are; by default 20, or what suits the data set.
        seed: Decides every random draw.
        on_round: A function that is called with each round's result, such as `print`, a callback of
            `fedstill.callbacks`, or several of both.
        **options: What `fedstill-sim run` takes, by the same names:
            out: A folder that keeps the run. Where it holds this run, stopped half-way, the call goes on with
                it. By default a temporary folder that goes with the result.
            force (bool): Replace another run that `out` holds.
            progress (bool): Show how far it is, on stderr.
            baselines: Names of the methods that the same fleet is run with besides, none by default.
            processes (int): Worker processes; 0 works in this one. By default as many as the fleet and the
                machine bear.
            cluster (str): The address of a Ray cluster whose machines do the devices' rounds.
            executor: A `concurrent.futures.Executor` of worker processes that does them.
            epochs, batch_size, learning_rate, optimizer, temperature, soft_weight: Local training.
            uplink, downlink, public_batch, use_public_labels: What is exchanged.
            adversaries (float), attack: The share of devices that lie, and how: a name such as
                "second-class", or an attack as an object. All accuracies are the honest devices'.
            privacy, epsilon, participation, deadline, mode and all others: See `fedstill-sim run --help`.

    Returns:
        The result.

    Raises:
        FedstillError: An argument does not fit; the text names it.
        MissingExtra: fedstill[sim] is not installed.

    Example:
        >>> import fedstill as fs
        >>> fleet = fs.datasets.digits(devices=4)
        >>> result = fs.simulate(fleet, students=["mlp-small"], rounds=1, processes=0)
        >>> result.student("mlp-small").predict(fleet.data.global_x[:3]).shape
        (3, 10)
    """
    require_extra("sim", what="fedstill.simulate")
    from fedstill_sim.runner.in_memory import run_fleet

    from fedstill.simulation.asked import chosen_callbacks

    callbacks = chosen_callbacks(on_round)
    where, data, config = checked_run(
        fleet, students=students, method=method, teacher=teacher, rounds=rounds, seed=seed, **options
    )
    kept = tempfile.TemporaryDirectory(prefix="fedstill-") if where.out is None else None
    folder = Path(kept.name if kept else where.out or "").absolute()
    with where.shown() as progress:
        run = run_fleet(
            data,
            config,
            folder,
            callbacks=callbacks,
            progress=progress,
            force=where.force,
            executor=where.executor,
        )
    return Result(run, folder, kept=kept)


def checked_run(
    fleet: Fleet,
    *,
    students: Sequence[Student | Network] = (),
    method: AnyMethod = "fedstill",
    teacher: AnyTeacher | None = None,
    **options: Any,
) -> tuple[Surroundings, FleetData, RunConfig]:
    """Where a run lies, its data and its whole configuration; nothing is trained.

    Raises:
        FedstillError: An argument of `simulate` does not fit; the text names it.
    """
    from fedstill.simulation.asked import argument_names, asked_run, configured, split_options

    where, asked = split_options(options)
    with argument_names():
        request, data = asked_run(fleet, students=students, method=method, teacher=teacher, options=asked)
        return where, data, configured(request, data)
