"""Devices that take part in sums, as handlers between the engine and the Grid.

The engine's devices train and give their vectors; here each offers its keys in place of its vector and
answers the steps of the sum, by the code that a real device runs (fedstill_client.secure_sums). Their keys
are drawn anew when a run is started or resumed, and the list of devices is written into the run's folder,
where a real fleet's repository would offer it signed. Masks cancel out whatever the keys: runs repeat bit for
bit all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from fedstill_client.rounds.replies import refusal_of
from fedstill_client.secure_sums.member import SumMember, offer_keys
from fedstill_client.secure_sums.rule import SumRefused, SumRule
from fedstill_client.secure_sums.state import SumState
from fedstill_proto.codec.api import TASK_LIMIT_BYTES, decode_task, encode_summary
from fedstill_proto.codec.sum_codec import SUM_LIMIT_BYTES
from fedstill_proto.errors import FedstillError
from fedstill_proto.flower_records import pack, unpack
from fedstill_proto.messages import PrivateStatistics, RoundTask, SoftLabelSummary
from fedstill_proto.privacy import seeded_bits
from fedstill_proto.secure_sums.enrolled import EnrolledDevice, EnrolledDevices
from fedstill_proto.secure_sums.terms import SumTerms
from fedstill_proto.system.files import replace_file
from fedstill_proto.v1 import fedstill_pb2 as pb
from fedstill_server.run_folder import ENROLLED_FILE
from flwr.app import Error, RecordDict

from fedstill_sim.engine.grid import Handler

STEPS = ("deal", "mask", "agree", "reveal")
_RULE = SumRule(least_group=3, curious_server=True)
"""Nobody owns a simulated device: what the run asks for is done."""


class SumDevices:
    """The devices of a run."""

    def __init__(self, names: Sequence[str], run_folder: Path, *, noise_seed: int) -> None:
        """Draw the devices' keys, and write the list of them.

        Args:
            names: The devices' names.
            run_folder: The run.
            noise_seed: Seed of the noise that devices add.
        """
        self._names, self._noise_seed = names, noise_seed
        self._keys = [ec.generate_private_key(ec.SECP384R1()) for _ in names]
        self._public = [
            key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
            for key in self._keys
        ]
        enrolled = [EnrolledDevice(name, key) for name, key in zip(names, self._public, strict=True)]
        self._enrolled = EnrolledDevices.of(enrolled, version=1)
        replace_file(run_folder / ENROLLED_FILE, self._enrolled.to_bytes())
        self._states: dict[int, SumState] = {}  # by device: of the last round that it took part in

    def among(self, handlers: Mapping[str, Handler]) -> dict[str, Handler]:
        """The handlers of a fleet whose devices take part in sums where a task asks for it."""

        def train(devices: Sequence[int], contents: Sequence[RecordDict]) -> Sequence[RecordDict | Error]:
            replies = list(handlers["train"](devices, contents))
            tasks: dict[bytes, RoundTask] = {}
            for place, (device, content) in enumerate(zip(devices, contents, strict=True)):
                if isinstance(reply := replies[place], RecordDict):
                    replies[place] = self._offered(device, content, reply, tasks)
            return replies

        return {**handlers, "train": train, **{f"query.sum_{step}": self._handler(step) for step in STEPS}}

    def _offered(
        self, device: int, content: RecordDict, reply: RecordDict, tasks: dict[bytes, RoundTask]
    ) -> RecordDict:
        """A device's keys in place of its vector."""
        blob = unpack(content, "RoundTask", size_limit_bytes=TASK_LIMIT_BYTES)
        if blob not in tasks:
            tasks[blob] = decode_task(blob)
        task = tasks[blob]
        noising, summing = task.request.noising, task.request.summing
        if noising is None or summing is None:
            return reply
        answer = unpack(reply, "SoftLabelSummary", size_limit_bytes=TASK_LIMIT_BYTES)
        vector = np.array(pb.SoftLabelSummary.FromString(answer).statistics.noised, np.int64)
        terms = SumTerms(
            run=task.run, round=task.round, summing=summing, noising=noising, numbers=len(vector)
        )
        state = offer_keys(terms, vector, self._keys[device])
        self._states[device] = state
        summary = SoftLabelSummary(
            task.run, task.round, task.family, task.request.kind, PrivateStatistics(), sum_keys=state.keys
        )
        return pack("SoftLabelSummary", encode_summary(summary, codec=None))

    def _handler(self, step: str) -> Handler:
        def answer(devices: Sequence[int], contents: Sequence[RecordDict]) -> list[RecordDict | Error]:
            return [
                self._answer(step, device, content) for device, content in zip(devices, contents, strict=True)
            ]

        return answer

    def _answer(self, step: str, device: int, content: RecordDict) -> RecordDict | Error:
        try:
            if (state := self._states.get(device)) is None:
                raise SumRefused("this device takes part in no sum")
            question = unpack(content, "SumQuestion", size_limit_bytes=SUM_LIMIT_BYTES)
            after = _step(self._member(device, state.terms.round), step)(state, question)
        except FedstillError as error:
            refusal = refusal_of(error)
            return Error(refusal.code, refusal.word)
        self._states[device] = after
        return pack("SumAnswer", getattr(after, step).answer)

    def _member(self, device: int, round_number: int) -> SumMember:
        return SumMember(
            identity=self._keys[device],
            public_key=self._public[device],
            enrolled=self._enrolled,
            rule=_RULE,
            noise=seeded_bits(self._noise_seed, "device", self._names[device], round_number),
        )


def _step(member: SumMember, step: str) -> Callable[[SumState, bytes], SumState]:
    return {"deal": member.deal, "mask": member.mask, "agree": member.agree, "reveal": member.reveal}[step]
