"""TensorBoard: every round's figures as scalars (extra `tensorboard`)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fedstill_proto.system.extras import explain_missing, require_extra

from fedstill_sim.callbacks.interface import Callback, RunStart, round_figures
from fedstill_sim.folder import file_name
from fedstill_sim.results.run_result import RoundResult, RunResult

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class TensorBoard(Callback):
    """Writes a run for TensorBoard: <folder>/<method>, and <folder>/<baseline> for each of its baselines.

    Show them with `tensorboard --logdir FOLDER`. A resumed run goes on in the same folder.
    """

    def __init__(self, folder: str | Path) -> None:
        """Name the folder.

        Raises:
            MissingExtra: TensorBoard is not installed.
        """
        require_extra("tensorboard", what="the TensorBoard callback")
        self._folder = Path(folder)
        self._writer: SummaryWriter | None = None

    def on_start(self, run: RunStart) -> None:
        """Open the method's folder."""
        self._writer = self._open(run.method)

    def on_round(self, result: RoundResult) -> None:
        """Write the round's figures."""
        assert self._writer is not None
        _write(self._writer, result)
        self._writer.flush()

    def on_finish(self, result: RunResult) -> None:
        """Write the baselines, too."""
        for baseline in result.baselines.values():
            writer = self._open(baseline.method)
            for finished in baseline.rounds:
                _write(writer, finished)
            writer.close()
        self._close()

    def on_error(self, error: BaseException) -> None:
        """Close what is open."""
        self._close()

    def _open(self, method: str) -> SummaryWriter:
        with explain_missing("the TensorBoard callback"):
            from torch.utils.tensorboard import SummaryWriter
        return SummaryWriter(str(self._folder / file_name(method)))

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _write(writer: SummaryWriter, result: RoundResult) -> None:
    for name, value in round_figures(result).items():
        writer.add_scalar(name, value, result.round)
