"""What virtual devices were told in earlier rounds, as handlers between the engine and the Grid.

A task's soft labels may be coded against those of a round that the device did. A round tells all devices the
same, so the run keeps it once, in devices/told/, and every device that reads a task of the round is taken to
hold it. Tasks are made whole here: devices of different rounds then have the same task again, and work in one
stack.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from fedstill_client.rounds.replies import refusal_of
from fedstill_client.rounds.told_labels import ToldLabelsFile
from fedstill_proto.codec.task_codec import WholeTask
from fedstill_proto.codec.told_labels import OLDEST_ROUNDS
from fedstill_proto.errors import WireError
from fedstill_proto.flower_records import pack, unpack
from fedstill_proto.message_pieces import TASK_LIMIT_BYTES
from fedstill_proto.soft_labels.base_table import BaseTable
from fedstill_proto.soft_labels.entropy import MissingBase
from flwr.app import Error, RecordDict

from fedstill_sim.engine.grid import Handler
from fedstill_sim.folder import DEVICES_FOLDER


class ToldTasks:
    """The rounds of a run that its virtual devices know."""

    def __init__(self, run_folder: Path) -> None:
        self._folder = run_folder / DEVICES_FOLDER / "told"
        self._kept: set[tuple[str, int]] = set()

    def among(self, handlers: Mapping[str, Handler]) -> dict[str, Handler]:
        """The handlers of a fleet, which get whole tasks to train by."""

        def train(devices: Sequence[int], contents: Sequence[RecordDict]) -> Sequence[RecordDict | Error]:
            whole: dict[bytes, RecordDict | Error] = {}
            replies = [self._whole(content, whole) for content in contents]
            tasks = {place: reply for place, reply in enumerate(replies) if isinstance(reply, RecordDict)}
            done = handlers["train"]([devices[place] for place in tasks], list(tasks.values()))
            for place, reply in zip(tasks, done, strict=True):
                replies[place] = reply
            return replies

        return {**handlers, "train": train}

    def _whole(self, content: RecordDict, whole: dict[bytes, RecordDict | Error]) -> RecordDict | Error:
        """The same task as anybody reads it, or why this device cannot; what is no task stays as it is."""
        try:
            blob = unpack(content, "RoundTask", size_limit_bytes=TASK_LIMIT_BYTES)
        except WireError:
            return content
        if blob not in whole:
            try:
                whole[blob] = pack("RoundTask", self._read(blob))
            except MissingBase as error:
                refusal = refusal_of(error)
                whole[blob] = Error(refusal.code, refusal.word)
            except WireError:
                whole[blob] = content
        return whole[blob]

    def _read(self, blob: bytes) -> bytes:
        """The task made whole; what it tells is held from now on."""
        task = WholeTask.of(blob, told=self._table)
        if task.table is not None and (task.run, task.round) not in self._kept:
            self._labels(task.round).keep(task.run, task.round, task.table)
            self._file(task.round - OLDEST_ROUNDS).unlink(missing_ok=True)
            self._kept.add((task.run, task.round))
        return task.blob

    def _table(self, run: str, round: int) -> BaseTable | None:
        return self._labels(round).table(run, round)

    def _labels(self, round: int) -> ToldLabelsFile:
        return ToldLabelsFile(self._file(round))

    def _file(self, round: int) -> Path:
        return self._folder / f"round-{round:06d}"
