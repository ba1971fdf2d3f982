"""The server's side of rounds in a Flower project of one's own: no folder has to be prepared before."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Before flwr: it switches flwr's telemetry and update check off.
import fedstill_proto  # noqa: F401  # isort: skip
from fedstill_proto.arrays import Parameters
from fedstill_proto.errors import unknown_name
from fedstill_proto.package.input_rule import InputRule
from fedstill_proto.system.extras import require_extra
from fedstill_server.config.codec import ConfigError
from fedstill_server.config.options import options_of
from fedstill_server.config.run_options import RunOptions
from flwr.app import Context
from flwr.serverapp import Grid
from flwr.serverapp import ServerApp as FlowerServerApp

from fedstill.chosen import AnyMethod, chosen_method, chosen_teacher
from fedstill.examples import checked_x, checked_y, pair, read_x
from fedstill.flower.kept_run import PUBLIC_FILE, TEST_FILE, claim, run_folder, started
from fedstill.flower.students import families_of

if TYPE_CHECKING:
    from fedstill_server.config.fleet import FleetConfig
    from fedstill_server.data.examples import Examples
    from fedstill_sim.results.run_result import RoundResult
    from torch import nn

    from fedstill.chosen import AnyTeacher
    from fedstill.flower.students import Students

    OnRound = Callable[[RoundResult], object]

FOLDER_KEY = "fedstill-folder"
_PREFIX = "fedstill-"  # of a Flower run's configuration
_BY_CODE = ("families", "task", "method_options")

# Flower shows what its own logger is told; fedstill's have no handler in its processes.
log = logging.getLogger("flwr.fedstill")


class ServerApp(FlowerServerApp):
    """A Flower ServerApp that hosts fedstill's rounds: teacher, consensus of a method, students.

        app = fs.flower.ServerApp(Net, public=load_public, method=fs.methods.Fedstill(), rounds=10)

    Its devices are those of `fedstill.flower.ClientApp`, fedstill's agents, or both. What the run has learned
    is `app.result` in the process that ran it, and is kept in the folder that the run's configuration names:

        [tool.flwr.app.config]
        fedstill-folder = "/data/fleet"   # empty: a temporary one
        fedstill-rounds = 20              # any option of a run, in place of what the code says

    A run that was stopped goes on where a new one has the same folder and the same settings.

    Args:
        students: What devices learn, as for the ClientApp.
        public: The public set: x [n, *shape], or (x, y) with labels y [n] for the teacher, or a function of
            the context that gives them.
        method: How the fleet learns: an object of `fedstill.methods`, or a name.
        teacher: The network that learns on the server: a torch module, a class that makes one, a name, or a
            `fedstill.Teacher`; by default a perceptron.
        test: (x, y) to measure teacher and starting students on, or a function of the context.
        classes: How many classes there are; by default as many as the labels of the public set show.
        on_round: Called with each round's result, such as `print`.
        **options: What `fedstill-server prepare` takes, by the same names: rounds, seed, epochs, batch_size,
            learning_rate, optimizer, temperature, soft_weight, public_batch, uplink, downlink,
            use_public_labels, start, round_epochs, privacy, epsilon, participation, goal_count, deadline,
            mode, evaluate_every and others.

    Raises:
        FedstillError: A name or an option stands for nothing.
        MissingExtra: fedstill[server] is not installed.
    """

    def __init__(
        self,
        students: Students,
        *,
        public: Any,
        method: AnyMethod = "fedstill",
        teacher: AnyTeacher | None = None,
        test: Any = None,
        classes: int | None = None,
        on_round: OnRound | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        self.rounds = DistillationServer(
            students,
            public=public,
            method=method,
            teacher=teacher,
            test=test,
            classes=classes,
            on_round=on_round,
            **options,
        )
        self.result: LearnedFleet | None = None
        self.main()(self._run)

    def _run(self, grid: Grid, context: Context) -> None:
        self.result = self.rounds.run(grid, context)


@dataclass(frozen=True, eq=False, kw_only=True)
class LearnedFleet:
    """What a run has learned.

    Attributes:
        rounds: Each round's result.
        start: The accuracy of "teacher" and of each family's student before the first round, if there is a
            test set.
        teacher: The teacher's parameters.
        students: The parameters of each family's student on the server.
        config: What the run was asked to do.
    """

    rounds: tuple[RoundResult, ...]
    start: Mapping[str, float]
    teacher: Parameters
    students: Mapping[str, Parameters]
    config: FleetConfig

    def student(self, family: str) -> nn.Module:
        """A family's student as a torch module, in eval mode.

        Raises:
            UnknownName: There is none of that name.
        """
        from fedstill_server.tasks import training_of

        if family not in self.students:
            raise unknown_name("student", family, self.students)
        return training_of(self.config).student(family, self.students[family]).eval()


class DistillationServer:
    """What `ServerApp` runs, for a main function of one's own; its arguments are the same.

    server = fs.flower.DistillationServer(Net, public=load_public, rounds=10)

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        learned = server.run(grid, context)
        torch.save(learned.student("Net").state_dict(), "net.pt")
    """

    def __init__(
        self,
        students: Students,
        *,
        public: Any,
        method: AnyMethod = "fedstill",
        teacher: AnyTeacher | None = None,
        test: Any = None,
        classes: int | None = None,
        on_round: OnRound | None = None,
        **options: Any,
    ) -> None:
        require_extra("server", what="fedstill.flower.ServerApp")
        self._students, self._public, self._test = students, public, test
        self._method, self._teacher, self._classes = method, teacher, classes
        self._on_round = on_round
        self._options = options
        self._asked({})

    def run(self, grid: Grid, context: Context) -> LearnedFleet:
        """Run all rounds over the grid of a Flower run.

        Args:
            grid: What Flower hands to a ServerApp.
            context: The same; its `run_config` may hold options of the run, such as fedstill-rounds.

        Returns:
            What the fleet has learned.

        Raises:
            FedstillError: An option or the data does not fit, or no device takes part.
        """
        given = {key: value for key, value in context.run_config.items() if key.startswith(_PREFIX)}
        folder = str(given.pop(FOLDER_KEY, ""))
        asked = self._asked(given)
        public, test = self._data(context)
        with run_folder(folder) as path:
            return self._run_in(path, grid, asked, public, test, run_id=context.run_id)

    def _asked(self, given: Mapping[str, object]) -> RunOptions:
        """What code and the run's configuration ask for.

        Raises:
            UnknownName: For an option that there is not.
        """
        known = [option.name for option in options_of(RunOptions) if option.name not in _BY_CODE]
        for name in self._options:
            if name not in known:
                raise unknown_name("ServerApp: option", name, known)
        keys = {_PREFIX + name.replace("_", "-"): name for name in known}
        for key in given:
            if key not in keys:
                raise unknown_name("run configuration", key, (FOLDER_KEY, *keys))
        choice = chosen_method(self._method, where="method")
        settings = {**self._options, **chosen_teacher(self._teacher), "method": choice.name}
        settings |= {keys[key]: value for key, value in given.items()}
        if settings["method"] == choice.name:
            settings["method_options"] = dict(choice.options)
        places = families_of(self._students)
        families = tuple(f"{name}={place}" if place else name for name, place in places.items())
        return RunOptions(families=families, **settings)

    def _data(self, context: Context) -> tuple[Examples, Examples | None]:
        """The public set and the test set, checked."""
        from fedstill_server.data.examples import Examples

        public, test = (given(context) if callable(given) else given for given in (self._public, self._test))
        x, y = pair("public", public) if isinstance(public, tuple) else (public, None)
        x = read_x("public", "x", x)
        if notice := InputRule.of(x).notice():
            log.warning("the public set is far from unit scale; scale what your functions load: %s", notice)
        checked = Examples(x, None if y is None else checked_y("public", "y", y, len(x)))
        if test is None:
            return checked, None
        test_x, test_y = pair("test", test)
        test_x = checked_x("test", "x", read_x("test", "x", test_x), x.shape[1:])
        return checked, Examples(test_x, checked_y("test", "y", test_y, len(test_x)))

    def _config_of(self, asked: RunOptions, public: Examples, test: Examples | None) -> FleetConfig:
        """The run's whole configuration, but for its name."""
        from fedstill_server.config.fleet import TeacherConfig
        from fedstill_server.families import FAMILIES
        from fedstill_server.resolve import FleetFacts, resolve
        from fedstill_server.tasks.arrays import ArrayTask

        largest = [int(one.y.max()) for one in (public, test) if one is not None and one.y is not None]
        if self._classes is None and public.y is None:
            raise ConfigError("classes: the public set has no labels; say how many classes there are")
        classes = max(largest) + 1 if self._classes is None else self._classes
        if max(largest, default=0) >= classes:
            raise ConfigError(f"classes: {classes}, but there is a label {max(largest)}; labels count from 0")
        if (asked.normalize, asked.channels) != ("auto", "auto"):
            raise ConfigError(
                "normalize, channels: nodes see their own examples only; scale what your functions load"
            )
        facts = FleetFacts(
            run="0" * 8,
            task=ArrayTask(),
            families=tuple(FAMILIES.named(asked.families)),
            classes=classes,
            input_shape=public.x.shape[1:],
            public_rows=len(public),
            labelled=public.y is not None,
            public_y=public.y,
            public_set=PUBLIC_FILE,
            test_set=None if test is None else TEST_FILE,
            teacher=TeacherConfig(),
            packaged=False,
        )
        return resolve(asked, facts)

    def _run_in(
        self,
        folder: Path,
        grid: Grid,
        asked: RunOptions,
        public: Examples,
        test: Examples | None,
        *,
        run_id: int,
    ) -> LearnedFleet:
        from fedstill_server.rounds import events
        from fedstill_server.rounds.fleet_run import FleetRun
        from fedstill_server.rounds.run_store import RunStore
        from fedstill_sim.runner.summarize import round_result

        config = claim(folder, self._config_of(asked, public, test), public, test, run_id=run_id)

        def told(event: events.Event) -> None:
            if isinstance(event, events.RoundFinished):
                result = round_result(event.record)
                log.info("%s", result)
                if self._on_round is not None:
                    self._on_round(result)

        store = RunStore(folder)
        try:
            start = started(folder, store, config, public, test)
            figures = ", ".join(f"{name} {accuracy:.1%}" for name, accuracy in start.items())
            log.info("before the first round: %s", figures or "not measured")
            with events.subscribe(told):
                state = FleetRun(grid, config, public=public, test=test, store=store).run()
            return LearnedFleet(
                rounds=tuple(map(round_result, store.records())),
                start=start,
                teacher=state.teacher,
                students=state.students,
                config=config,
            )
        finally:
            store.close()
