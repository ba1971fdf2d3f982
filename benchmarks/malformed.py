"""A round in which 1,000 devices answer with something malformed: does it stand, and is each one counted?

A fleet of honest devices and as many liars as asked for plays one round through the server's own loop. Every
kind of damage is dealt out in turn. The verdict holds only if nothing raised, the consensus is bit for bit
that of the honest devices alone, and every malformed answer is in quarantine with its reason.

    python benchmarks/malformed.py --count 1000 --json
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from fedstill_proto.codec.api import TASK_LIMIT_BYTES, decode_task, encode_summary
from fedstill_proto.codec.envelope import seal
from fedstill_proto.codec.tensors import Moves
from fedstill_proto.flower_records import RECORD, hello_reply, pack, unpack
from fedstill_proto.messages import (
    Optimizer,
    PrivateStatistics,
    RoundTask,
    SoftLabelSummary,
    SummaryKind,
    TrainingPlan,
)
from fedstill_proto.soft_labels.codec import Encoding, SoftLabelCodec
from fedstill_proto.soft_labels.label_arrays import DenseSoftLabels
from fedstill_proto.v1 import fedstill_pb2 as pb
from fedstill_server.config.fleet import CohortRule, FleetConfig, TeacherConfig
from fedstill_server.data.examples import Examples
from fedstill_server.data.forms import Labels
from fedstill_server.methods import completed, methods_for
from fedstill_server.rounds.fleet_run import FleetRun
from fedstill_server.rounds.gate import Reason
from fedstill_server.rounds.round_record import RoundRecord
from fedstill_server.rounds.run_store import RunStore
from fedstill_sim.engine.grid import FIRST_DEVICE_NODE_ID, InProcessGrid
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, RecordDict

SHAPE, CLASSES, PUBLIC, HONEST = (16,), 10, 40, 20
Reply = RecordDict | Error
DAMAGED = tuple(
    name for name in methods_for(Labels.ONE) if name != "local"
)  # its summaries hold nothing to damage


def honest(task: RoundTask, device: int, **header: Any) -> SoftLabelSummary:
    """Make a valid summary of noise that depends on the device."""
    rng = np.random.default_rng(device)
    kind = task.request.kind
    if kind is SummaryKind.PARAMETERS:
        moved = {n: a + rng.normal(0, 0.1, a.shape).astype(np.float32) for n, a in task.parameters.items()}
        statistics = PrivateStatistics(parameters=moved, examples=1 + device % 50)
    elif kind is SummaryKind.CLASS_PROTOTYPES:
        present = np.sort(rng.choice(CLASSES, 4, replace=False)).astype(np.int64)
        features = rng.uniform(-1, 1, (4, len(task.request.anchor_rows))).astype(np.float32)
        statistics = PrivateStatistics(
            present_classes=present, class_examples=rng.integers(1, 50, 4), features=features
        )
    else:
        rows, answered = len(task.request.public_rows) if kind is SummaryKind.PUBLIC_SET else 4, None
        if task.request.selection is not None:
            answered = np.arange(rows) % 3 > 0
            rows = int(answered.sum())
        soft_labels = DenseSoftLabels(rng.dirichlet(np.ones(CLASSES), rows).astype(np.float32))
        statistics = PrivateStatistics(soft_labels=soft_labels, answered=answered)
        if kind is SummaryKind.CLASS_MEANS:
            present = np.sort(rng.choice(CLASSES, rows, replace=False)).astype(np.int64)
            statistics = replace(
                statistics, present_classes=present, class_examples=rng.integers(1, 50, rows)
            )
        if len(task.request.anchor_rows):
            features = rng.uniform(-1, 1, (rows, len(task.request.anchor_rows))).astype(np.float32)
            statistics = replace(statistics, features=features)
    fields = {"run": task.run, "round": task.round, "family": task.family, **header}
    return SoftLabelSummary(**fields, kind=kind, statistics=statistics)


def sealed(task: RoundTask, device: int, change: Callable[[pb.SoftLabelSummary], None]) -> bytes:
    """Change a summary so that its checksum fits: the sender means it."""
    message = pb.SoftLabelSummary()
    message.ParseFromString(plain(task, device)[:-5])
    change(message)
    return seal(message)


@dataclass(frozen=True)
class Damage:
    """One kind of malformed answer and the reason that it must be counted under."""

    name: str
    answer: Callable[[RoundTask, int], Reply]
    reasons: frozenset[Reason]
    twice: bool = False


def damaged(name: str, make: Callable[[RoundTask, int], bytes], *reasons: Reason) -> Damage:
    return Damage(name, lambda task, device: pack("SoftLabelSummary", make(task, device)), frozenset(reasons))


def plain(task: RoundTask, device: int, **header: Any) -> bytes:
    return encode_summary(honest(task, device, **header), codec=task.request.codec, moves=Moves.of(task))


def flipped(task: RoundTask, device: int) -> bytes:
    blob = bytearray(plain(task, device))
    rng = np.random.default_rng([device, 1])
    for position in rng.choice(len(blob), 3, replace=False):
        blob[position] ^= int(rng.integers(1, 256))
    return bytes(blob)


def bad_value(value: float) -> Callable[[RoundTask, int], bytes]:
    """Put `value` in place of a float; where probabilities are bytes, make a row that is no distribution."""

    def change(message: pb.SoftLabelSummary) -> None:
        statistics = message.statistics
        number = np.float32(value).tobytes()
        if statistics.parameters:
            statistics.parameters[0].scales = number[2:] + statistics.parameters[0].scales[2:]
        elif statistics.features:
            statistics.features = b"\x80" + statistics.features[1:]  # -128 of 127
        elif statistics.soft_labels.encoding == pb.SOFT_LABEL_ENCODING_FLOAT32:
            statistics.soft_labels.values = number + statistics.soft_labels.values[4:]
        elif (
            statistics.soft_labels.k == 1
        ):  # any share of one class is good; a class that does not exist is not
            statistics.soft_labels.indices = b"\xfe" + statistics.soft_labels.indices[1:]
        else:
            statistics.soft_labels.values = b"\xff\xff" + statistics.soft_labels.values[2:]

    return lambda task, device: sealed(task, device, change)


def negative(task: RoundTask, device: int) -> bytes:
    """Make a probability negative where there are floats; a student's weight, which may be, becomes NaN."""
    return bad_value(float("nan") if task.request.kind is SummaryKind.PARAMETERS else -0.5)(task, device)


def wrong_shape(message: pb.SoftLabelSummary) -> None:
    statistics = message.statistics
    if statistics.parameters:
        del statistics.parameters[-1]
    elif statistics.features:
        statistics.features += b"\x00"
    else:
        statistics.soft_labels.classes += 1


def cut_array(message: pb.SoftLabelSummary) -> None:
    statistics = message.statistics
    if statistics.parameters:
        statistics.parameters[0].data = statistics.parameters[0].data[:-4]
    elif statistics.features:
        statistics.features = statistics.features[:-1]
    elif statistics.soft_labels.encoding == pb.SOFT_LABEL_ENCODING_LEVELS:
        statistics.soft_labels.values = b""  # an entropy coded row that ends early is another row, not no row
    else:
        statistics.soft_labels.values = statistics.soft_labels.values[:-1]


def another_kind(message: pb.SoftLabelSummary) -> None:
    message.kind = pb.SUMMARY_KIND_NONE


def another_version(message: pb.SoftLabelSummary) -> None:
    message.protocol_version = 2


def no_statistics(message: pb.SoftLabelSummary) -> None:
    message.ClearField("statistics")


def other_rows(message: pb.SoftLabelSummary) -> None:
    """Set bits of rows that nobody asked for; where all rows were asked for, any bit is one too many."""
    message.statistics.answered += b"\x01"


def many_examples(message: pb.SoftLabelSummary) -> None:
    """Claim a class that the device cannot have, or counts that nobody asked for."""
    message.statistics.present_classes.append(CLASSES)
    message.statistics.class_examples.append(1)


def record_of(data: bytes, stype: str, dtype: str = "uint8") -> RecordDict:
    array = Array(dtype, (len(data),), stype, data)
    return RecordDict({RECORD: ArrayRecord({"SoftLabelSummary": array})})


ANY_VALUE = (Reason.BAD_VALUES, Reason.WRONG_SHAPE)
DAMAGES = (
    damaged("empty", lambda task, device: b"", Reason.UNREADABLE),
    damaged("truncated", lambda t, d: plain(t, d)[: d % len(plain(t, d))], Reason.UNREADABLE),
    damaged("mutated", flipped, Reason.UNREADABLE),
    damaged("noise", lambda task, device: np.random.default_rng(device).bytes(300), Reason.UNREADABLE),
    damaged("trailing bytes", lambda task, device: plain(task, device) + b"\x00", Reason.UNREADABLE),
    damaged("oversized", lambda task, device: plain(task, device) + bytes(1 << 20), Reason.TOO_LARGE),
    damaged("wrong version", lambda t, d: sealed(t, d, another_version), Reason.WRONG_VERSION),
    damaged("wrong run", lambda t, d: plain(t, d, run="feedbeef"), Reason.WRONG_RUN),
    damaged("earlier round", lambda t, d: plain(t, d, round=t.round - 1), Reason.WRONG_ROUND),
    damaged("later round", lambda t, d: plain(t, d, round=t.round + 7), Reason.WRONG_ROUND),
    damaged("wrong family", lambda t, d: plain(t, d, family="cnn"), Reason.WRONG_FAMILY),
    damaged("wrong kind", lambda t, d: sealed(t, d, another_kind), Reason.WRONG_KIND),
    damaged("not a number", bad_value(float("nan")), *ANY_VALUE),
    damaged("infinite", bad_value(float("-inf")), *ANY_VALUE),
    damaged("negative", negative, *ANY_VALUE),
    damaged("no statistics", lambda t, d: sealed(t, d, no_statistics), Reason.WRONG_SHAPE),
    damaged("wrong shape", lambda t, d: sealed(t, d, wrong_shape), Reason.WRONG_SHAPE),
    damaged("other rows", lambda t, d: sealed(t, d, other_rows), Reason.WRONG_SHAPE),
    damaged("another class", lambda t, d: sealed(t, d, many_examples), Reason.WRONG_SHAPE),
    damaged("cut array", lambda t, d: sealed(t, d, cut_array), *ANY_VALUE),
    Damage("error reply", lambda t, d: Error(2, "out of memory"), frozenset({Reason.ERROR_REPLY})),
    Damage("nothing inside", lambda t, d: RecordDict(), frozenset({Reason.NO_SUMMARY})),
    Damage(
        "another record",
        lambda t, d: RecordDict({RECORD: ConfigRecord({"a": 1})}),
        frozenset({Reason.NO_SUMMARY}),
    ),
    Damage(
        "another type",
        lambda t, d: record_of(plain(t, d), "fedstill.v1/RoundTask"),
        frozenset({Reason.NO_SUMMARY}),
    ),
)
# The same honest answer twice: the first counts, so these devices are honest, too.
DUPLICATE = "duplicate"


class LyingFleet(InProcessGrid):
    """Honest devices first, then liars, each with its damage; some of the honest ones answer twice."""

    def __init__(self, *, liars: int, twice: int) -> None:
        self.lies = [DAMAGES[liar % len(DAMAGES)] for liar in range(liars)]
        self._twice = twice
        handlers = {"query.hello": self._hello, "train": self._train}
        super().__init__(devices=HONEST + liars, handlers=handlers)

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        replies = super().pull_messages(message_ids)
        train = [reply for reply in replies if reply.metadata.message_type == "train"]
        for number in range(self._twice if train else 0):
            replies.append(train[number % HONEST])
        return replies

    def _hello(self, devices: Sequence[int], contents: Sequence[RecordDict]) -> list[Reply]:
        return [hello_reply(f"device-{device:05d}", "mlp-small") for device in devices]

    def _train(self, devices: Sequence[int], contents: Sequence[RecordDict]) -> list[Reply]:
        by_device = sorted(zip(devices, contents, strict=True), key=lambda pair: pair[0])
        answers: dict[int, Reply] = {}
        for device, content in by_device:
            task = decode_task(unpack(content, "RoundTask", size_limit_bytes=TASK_LIMIT_BYTES))
            if device < HONEST:
                answers[device] = pack("SoftLabelSummary", plain(task, device))
            else:
                answers[device] = self.lies[device - HONEST].answer(task, device)
        return [answers[device] for device in devices]


def play_round(method: str, encoding: Encoding, *, liars: int, twice: int) -> tuple[RoundRecord, LyingFleet]:
    """Play a round of a fleet; what the honest devices send does not depend on the liars."""
    rng = np.random.default_rng(0)
    public = Examples(rng.normal(size=(PUBLIC, *SHAPE)).astype(np.float32), np.arange(PUBLIC) % CLASSES)
    codec = SoftLabelCodec(encoding, 3 if encoding is Encoding.TOP_K else 0)
    config = FleetConfig(
        run="0123abcd",
        method=completed(method, {}),
        rounds=1,
        seed=0,
        families=("mlp-small",),
        classes=CLASSES,
        input_shape=SHAPE,
        public_set="public.npz",
        training=TrainingPlan(1, 16, 0.1, Optimizer.SGD, 2.0, 0.5, 0),
        teacher=TeacherConfig(hidden=(8,), epochs=1, student_epochs=1, round_epochs=1),
        uplink=codec,
        cohort=CohortRule(deadline_s=1),
    )
    fleet = LyingFleet(liars=liars, twice=twice)
    with tempfile.TemporaryDirectory() as folder:
        store = RunStore(Path(folder))
        UnmeasuredRun(fleet, config, public=public, store=store).run()
        (record,) = store.records()
        store.close()
    return record, fleet


class UnmeasuredRun(FleetRun):
    """A run whose devices have nothing to measure their students on."""

    def _is_measured(self, number: int) -> bool:
        return False


def examine(method: str, encoding: Encoding, count: int) -> dict[str, Any]:
    """Compare a round with `count` malformed answers, one in ten of them repeated, with one without any."""
    twice = count // 10
    started = time.perf_counter()
    record, fleet = play_round(method, encoding, liars=count - twice, twice=twice)
    seconds = time.perf_counter() - started
    alone, _ = play_round(method, encoding, liars=0, twice=0)
    wrong = miscounted(record, fleet, twice)
    return {
        "method": method,
        "encoding": encoding.value,
        "malformed": count,
        "quarantined": len(record.quarantined),
        "accepted": record.accepted,
        "reasons": dict(sorted(Counter(entry.reason for entry in record.quarantined).items())),
        "miscounted": wrong,
        "consensus_unchanged": record.consensus_digest == alone.consensus_digest,
        "seconds": round(seconds, 2),
        "holds": not wrong
        and len(record.quarantined) == count
        and record.accepted == HONEST
        and record.consensus_digest == alone.consensus_digest,
    }


def miscounted(record: RoundRecord, fleet: LyingFleet, twice: int) -> list[str]:
    """Count malformed answers that are not in quarantine, or are under a reason that is not theirs."""
    first_liar = FIRST_DEVICE_NODE_ID + HONEST
    found: dict[int, str] = {}
    repeated = 0
    for entry in record.quarantined:
        if entry.reason == DUPLICATE:
            repeated += 1
        else:
            found[int(entry.node) - first_liar] = entry.reason
    wrong = [
        f"{lie.name}: {found.get(number, 'not quarantined')}"
        for number, lie in enumerate(fleet.lies)
        if found.get(number) not in {reason.value for reason in lie.reasons}
    ]
    return wrong if repeated == twice else [*wrong, f"{repeated} repeated answers of {twice}"]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="A round with many malformed answers.")
    parser.add_argument("--count", type=int, default=1000, help="malformed answers in each round")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--methods", default=",".join(DAMAGED), help="whose summaries; with commas")
    options = parser.parse_args(arguments)
    cases = [(method, Encoding.UINT8) for method in options.methods.split(",")]
    if "public-logits" in options.methods:
        cases += [("public-logits", Encoding.FLOAT32), ("public-logits", Encoding.TOP_K)]
    results = [examine(method, encoding, options.count) for method, encoding in cases]
    holds = all(result["holds"] for result in results)
    if options.json:
        print(json.dumps({"holds": holds, "rounds": results}, indent=1))
    else:
        for result in results:
            print(as_text(result))
        print("verdict: " + ("holds" if holds else "DOES NOT HOLD"))
    return 0 if holds else 1


def as_text(result: dict[str, Any]) -> str:
    consensus = "unchanged" if result["consensus_unchanged"] else "CHANGED"
    lines = [
        f"{result['method']} ({result['encoding']}): {result['quarantined']} of {result['malformed']} "
        f"malformed answers quarantined, {result['accepted']} of {HONEST} honest ones accepted, "
        f"consensus {consensus}, {result['seconds']} s"
    ]
    lines += [f"  {number:5d}  {reason}" for reason, number in result["reasons"].items()]
    lines += [f"  MISCOUNTED {problem}" for problem in result["miscounted"][:10]]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
