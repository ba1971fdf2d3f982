"""The loop of a run: have the fleet do a round and fold it, learn, measure, commit; until the last round.

Who does the fleet's part is another matter (fleet_work.py).
"""

from __future__ import annotations

import logging
import time
from dataclasses import replace

import httpx

from fedstill_server.config.fleet import FleetConfig
from fedstill_server.data.examples import Examples
from fedstill_server.methods import Method
from fedstill_server.rounds import events
from fedstill_server.rounds.fleet_work import FleetWork, FoldedRound, Measured, Stopwatch
from fedstill_server.rounds.generation_guard import GenerationOver
from fedstill_server.rounds.pacing import Pacing
from fedstill_server.rounds.preparation import PREPARATIONS
from fedstill_server.rounds.round_record import PhaseSeconds, RoundRecord
from fedstill_server.rounds.run_store import Checkpoint, RunStore
from fedstill_server.state import FleetState, digest_of
from fedstill_server.tasks import training_of
from fedstill_server.training.networks import one_deterministic_thread

log = logging.getLogger("fedstill.account")


class RunLoop:
    """A run of the server; one that was stopped goes on where its store says."""

    def __init__(
        self,
        work: FleetWork,
        config: FleetConfig,
        method: Method,
        *,
        public: Examples,
        store: RunStore,
        test: Examples | None = None,
        pacing: Pacing,
        is_real: bool = False,
    ) -> None:
        """Open a run.

        Args:
            work: Does the fleet's part.
            config: What the run does.
            method: The run's method, which knows the fleet and its public set.
            public: The public set.
            store: Where rounds are committed.
            test: What the teacher is measured on; None does not measure it.
            pacing: Guards what is written down for a generation of the fleet that may be over meanwhile.
            is_real: Whether the devices are, and do not measure students on the test set themselves.
        """
        self._work = work
        self._config = config
        self._method = method
        self._public = public
        self._test = test
        self._store = store
        self._is_real = is_real
        self._pacing = pacing
        store.keep_states(work.keeps)
        store.commit_of(config.generation)

    def run(self) -> FleetState:
        """All rounds that are not committed yet; returns the final state, which is also on disk."""
        with one_deterministic_thread():
            checkpoint = self._store.latest() or self._prepare()
            if checkpoint.generation != self._config.generation:
                log.warning("%s", GenerationOver(self._config.generation, checkpoint.generation))
                return checkpoint.state
            self._work.resume(checkpoint, lambda round_: self._store.state_after(round_ - 1))
            try:
                checkpoint = self._remaining_rounds(checkpoint)
            except GenerationOver as over:
                log.warning("%s; the run ends, and its open round counts for nothing", over)
                return checkpoint.state
            self._store.write_final(checkpoint.state)
        events.publish(events.RunFinished(run=self._config.run, rounds=self._config.rounds))
        return checkpoint.state

    def _prepare(self) -> Checkpoint:
        started = time.perf_counter()
        state = PREPARATIONS.prepare(self._config, self._public, self._method)
        with self._pacing.in_force():
            self._store.commit(0, state)
        seconds = time.perf_counter() - started
        events.publish(
            events.RunPrepared(
                seconds=seconds,
                teacher_accuracy=self._teacher_accuracy(state),
                students=state.students,
            )
        )
        return Checkpoint(0, state, frozenset(), generation=self._config.generation)

    def _remaining_rounds(self, checkpoint: Checkpoint) -> Checkpoint:
        started = False
        while True:
            number = checkpoint.round + 1
            devices = self._work.gather(number)
            if devices is None:
                return checkpoint
            if not started:
                started = True
                events.publish(
                    events.RunStarted(
                        run=self._config.run,
                        rounds=self._config.rounds,
                        first_round=number,
                        devices=devices,
                    )
                )
            try:
                checkpoint = self._round(checkpoint)
            except (httpx.HTTPError, OSError) as error:
                if not self._pacing.outlives(error, number):
                    raise

    def _round(self, before: Checkpoint) -> Checkpoint:
        number, state, watch = before.round + 1, before.state, Stopwatch()
        method = self._method.of_round(state, round_number=number)
        folded = self._work.fold(method, before, watch)
        if folded.consensus.devices > 0:
            state = method.learn(state, folded.consensus, round_number=number)
        watch.lap("learn")
        after = Checkpoint(
            number,
            state,
            folded.installed,
            folded.pending,
            folded.clock_s or 0.0,
            folded.base_tables,
            selection=folded.selection,
        )
        compares = self._method.compares_after(number)
        measured = self._work.measure(after) if compares or self._is_measured(number) else Measured()
        if compares:
            state = self._method.measured(state, measured.personal(), round_number=number)
            after = replace(after, state=state)
        watch.lap("evaluate")
        record = self._record(number, state, folded, measured, watch)
        with self._pacing.in_force():
            self._store.commit(
                number,
                state,
                record=record,
                installed=folded.installed,
                pending=folded.pending,
                base_tables=folded.base_tables,
                account=folded.account,
                selection=folded.selection,
            )
        self._work.committed(number)
        events.publish(events.RoundFinished(record=record, rounds=self._config.rounds))
        return after

    def _record(
        self, number: int, state: FleetState, folded: FoldedRound, measured: Measured, watch: Stopwatch
    ) -> RoundRecord:
        # What is sent so that a method may choose is a part of it; what people want to know is not.
        choosing_bytes = measured.sent_bytes if self._method.compares_after(number) else 0
        downlink_bytes = folded.downlink_bytes + choosing_bytes
        record = RoundRecord(
            round=number,
            seconds=watch.total,
            present=folded.present,
            asked=folded.asked,
            replied=folded.replied,
            accepted=folded.accepted,
            overdue=folded.overdue,
            late=folded.late,
            quarantined=folded.quarantined,
            left_out=dict(folded.left_out),
            counted=folded.counted,
            ages=folded.ages,
            mean_age=folded.mean_age,
            uplink_bytes=folded.uplink_bytes,
            downlink_bytes=downlink_bytes,
            evaluation_bytes=measured.sent_bytes - choosing_bytes,
            uplink_bytes_per_device=folded.uplink_bytes / max(folded.replied + folded.overdue, 1),
            downlink_bytes_per_device=downlink_bytes / max(folded.asked, 1),
            personal_accuracy=measured.personal_accuracy,
            global_accuracy=measured.global_accuracy,
            fleet_personal_accuracy=measured.fleet_personal_accuracy,
            fleet_global_accuracy=measured.fleet_global_accuracy,
            worst_device_accuracy=measured.worst_device_accuracy,
            devices=dict(measured.devices),
            measured=measured.measured,
            teacher_accuracy=self._teacher_accuracy(state),
            student_accuracy=self._student_accuracy(state),
            test_examples=0 if self._test is None else len(self._test),
            personal_examples=measured.personal_examples,
            consensus_digest=digest_of(folded.consensus.arrays()),
            evaluation_failures=measured.failures,
            clock_s=folded.clock_s,
            phase_seconds=PhaseSeconds(**watch.phases),
            notice=self._method.notice(state, round_number=number),
            finished_at=self._pacing.time_text(),
        )
        return record.without_answers() if folded.withholds else record

    def _is_measured(self, number: int) -> bool:
        privacy = self._config.privacy
        if privacy is not None and not privacy.measured:
            return False  # nothing bounds what counts of correct answers reveal
        every = self._config.evaluate_every
        return number == self._config.rounds or (every > 0 and number % every == 0)

    def _teacher_accuracy(self, state: FleetState) -> float | None:
        if self._test is None or self._test.y is None:
            return None
        training = training_of(self._config)
        return training.accuracy(training.teacher(state.teacher), self._test)

    def _student_accuracy(self, state: FleetState) -> dict[str, float]:
        """That of the fleet's students; in a simulation, devices measure them on the same examples."""
        if self._test is None or self._test.y is None or not self._is_real:
            return {}
        training = training_of(self._config)
        return {
            family: training.accuracy(training.student(family, weights), self._test)
            for family, weights in state.students.items()
        }
