"""What a simulated run came to: figures, a report, and the students that it trained."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from fedstill_proto.errors import FedstillError, unknown_name
from fedstill_proto.package.artifact import StudentPackage
from fedstill_proto.system.extras import explain_missing
from fedstill_sim.results.device_results import (
    MOST_INLINE,
    DeviceFigures,
    DeviceResult,
    families_of,
    names_of,
)
from fedstill_sim.results.readable import readable_percent
from fedstill_sim.results.run_result import (
    BaselineResult,
    FinalResult,
    RoundResult,
    RunResult,
    result_document,
)

from fedstill.models import PackagedStudent

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


class Rounds(Sequence[RoundResult]):
    """The rounds of a run, the first one first. Accuracies are shares from 0 to 1."""

    def __init__(self, rounds: Sequence[RoundResult]) -> None:
        self._rounds = tuple(rounds)

    @overload
    def __getitem__(self, place: int) -> RoundResult: ...

    @overload
    def __getitem__(self, place: slice) -> Rounds: ...

    def __getitem__(self, place: int | slice) -> RoundResult | Rounds:
        return Rounds(self._rounds[place]) if isinstance(place, slice) else self._rounds[place]

    def __len__(self) -> int:
        return len(self._rounds)

    def __iter__(self) -> Iterator[RoundResult]:
        return iter(self._rounds)

    def __repr__(self) -> str:
        return f"<Rounds: {len(self)}>"

    def to_pandas(self) -> pd.DataFrame:
        """Return a line a round, with the round's number as index; lists of answers become their number.

        Raises:
            MissingExtra: pandas is not installed.
        """
        with explain_missing("to_pandas"):
            import pandas as pd
        names = [field.name for field in dataclasses.fields(RoundResult)]
        lines = [{name: _plain(getattr(one, name)) for name in names} for one in self]
        return pd.DataFrame(lines, columns=names).set_index("round")


class Devices(Sequence[DeviceResult]):
    """The devices of a run, in the fleet's order; those of a large fleet are made when they are asked for."""

    def __init__(self, devices: Sequence[DeviceResult]) -> None:
        self._devices = devices

    @overload
    def __getitem__(self, place: int) -> DeviceResult: ...

    @overload
    def __getitem__(self, place: slice) -> Sequence[DeviceResult]: ...

    def __getitem__(self, place: int | slice) -> DeviceResult | Sequence[DeviceResult]:
        return self._devices[place]

    def __len__(self) -> int:
        return len(self._devices)

    def __repr__(self) -> str:
        return f"<Devices: {len(self):,}>"

    def to_pandas(self) -> pd.DataFrame:
        """Return a line a device, with its name as index; accuracies that are not known are NaN.

        Raises:
            MissingExtra: pandas is not installed.
        """
        with explain_missing("to_pandas"):
            import pandas as pd
        figures, families = DeviceFigures.of(self._devices), families_of(self._devices)
        return pd.DataFrame(
            {
                "family": pd.Categorical.from_codes(families.codes, list(families.names)),
                "train_examples": figures.train_examples,
                "test_examples": figures.test_examples,
                "personal_accuracy": figures.personal_accuracy,
                "global_accuracy": figures.global_accuracy,
                "summaries_counted": figures.summaries_counted,
            },
            index=pd.Index(list(names_of(self._devices)), name="name"),
        )


class Result:
    """A finished run.

    Attributes:
        run: Everything that the run found, as in its result.json.
        folder: Where the run lies. A temporary folder goes when the result does.
    """

    def __init__(
        self, run: RunResult, folder: Path, *, kept: tempfile.TemporaryDirectory[str] | None = None
    ) -> None:
        self.run = run
        self.folder = folder
        self._kept = kept

    @property
    def final(self) -> FinalResult:
        """Where the run ended: accuracies of the last evaluated round, and the bytes of all rounds."""
        return self.run.final

    @property
    def rounds(self) -> Rounds:
        """The rounds."""
        return Rounds(self.run.rounds)

    @property
    def devices(self) -> Devices:
        """The devices: their data, and how their students ended."""
        return Devices(self.run.devices)

    @property
    def baselines(self) -> Mapping[str, BaselineResult]:
        """What the same fleet came to under other methods, by their names."""
        return self.run.baselines

    @property
    def config(self) -> Mapping[str, Any]:
        """The whole configuration of the run, with every option of its method."""
        return self.run.config

    @property
    def evaluation(self) -> Mapping[str, Any]:
        """What is measured besides accuracy: of several labels F1 and precision, of numbers RMSE, MAE, R2,
        NLL.
        """
        return self.run.evaluation

    def report(self, path: Path | str = "report.html") -> Path:
        """Write the report, one HTML file that needs no other.

        Returns:
            Where it lies.
        """
        from fedstill_sim.report.run_report import write_report

        write_report(self.run, Path(path))
        return Path(path)

    def student(self, family: str | None = None, *, device: str | None = None) -> PackagedStudent:
        """Return the fleet's final student of a family, or the own one of a device.

        Args:
            family: The student's name; it may be left out where the fleet has one family.
            device: The name of a device, whose personal student is meant.

        Raises:
            UnknownName: The fleet has no such family, or no such device.
            FedstillError: The device never took part, and has no student of its own, or has not kept it
                (`keep_students`).
        """
        if device is not None:
            return self._own_student(device)
        families = list(self.run.students)
        if family is None and len(families) == 1:
            (family,) = families
        if family not in families:
            raise unknown_name("student", family or "", families)
        return PackagedStudent.load(self.folder / "students" / family)

    def _own_student(self, device: str) -> PackagedStudent:
        from fedstill_sim.config import read_config
        from fedstill_sim.progress import SilentProgress
        from fedstill_sim.results.json_files import read_json
        from fedstill_sim.runner.devices import devices_with_students, run_rounds, students_of
        from fedstill_sim.runner.run import STACK_SIZES_FILE

        names = names_of(self.run.devices)
        if device not in names:
            raise unknown_name("device", device, names[:MOST_INLINE])
        number = names.index(device)
        sizes = read_json(self.folder / STACK_SIZES_FILE)
        config = read_config(self.folder)
        # All of them are done: this only reads what they left.
        rounds = run_rounds(self.folder, config, SilentProgress(), label=self.run.method, stack_sizes=sizes)
        if number not in set(devices_with_students(rounds, names)):
            raise FedstillError(f"device {device!r} never took part, and has no student of its own")
        package = self.student(self.run.devices[number].family).package
        own = {name: stack[0] for name, stack in students_of(rounds, [number]).items()}
        return PackagedStudent(StudentPackage(package.manifest, package.inference_graph, own))

    def plot(self, axes: Axes | None = None) -> Axes:
        """Draw personal and global accuracy by round, beside the baselines.

        Args:
            axes: Where to draw; by default on a new figure.
        """
        with explain_missing("plot", extra="sim"):
            from matplotlib import pyplot

        axes = axes or pyplot.subplots()[1]
        beside = {name: baseline.rounds for name, baseline in self.baselines.items()}
        for number, (method, rounds) in enumerate({self.run.method: self.run.rounds, **beside}.items()):
            for kind, line in (("personal", "-"), ("global", "--")):
                values = [(one.round, getattr(one, f"{kind}_accuracy")) for one in rounds]
                seen = np.array([point for point in values if point[1] is not None]).reshape(-1, 2)
                axes.plot(*seen.T, line, color=f"C{number}", label=f"{method}, {kind}")
        axes.set(xlabel="round", ylabel="accuracy")
        axes.legend()
        return axes

    def to_json(self) -> dict[str, Any]:
        """Return the document that result.json holds."""
        document: dict[str, Any] = result_document(self.run)
        return document

    def __repr__(self) -> str:
        final = self.final
        return (
            f"<Result of {self.run.method} on {self.run.data.name}: {len(self.run.rounds)} rounds, personal "
            f"{readable_percent(final.personal_accuracy)}, global {readable_percent(final.global_accuracy)}>"
        )


def _plain(value: Any) -> Any:
    return len(value) if isinstance(value, tuple) else value
