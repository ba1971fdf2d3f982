"""A round in a process of its own, as Flower starts one on a device that is needed again."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from fedstill_client.home import AgentHome
from fedstill_client.rounds.device import FleetDevice
from fedstill_client.store import PrivateStore
from fedstill_proto.codec.api import encode_task
from fedstill_proto.messages import Optimizer, RoundTask, SummaryKind, SummaryRequest, TrainingPlan
from fedstill_proto.soft_labels.codec import Encoding, SoftLabelCodec

from tests.client.agent_samples import enrolled_home
from tests.client.samples import FAMILY, examples, student

LIMIT_S = 5.0
# The ClientApp without the tests' helpers, which load torch; it says when its first step begins.
ROUND = """
import sys
from pathlib import Path
from fedstill_client import app
from fedstill_client.rounds import round as round_work
from fedstill_proto import flower_records
from flwr.app import Context, Message, RecordDict
from flwr.app.metadata import Metadata

class Told(round_work.WatchedSteps):
    def start(self, into):
        print("training", flush=True)
        super().start(into)

round_work.WatchedSteps = Told
home, task = Path(sys.argv[1]), Path(sys.argv[2]).read_bytes()
metadata = Metadata(1, "m1", 1, 22, "", "1", 1e9, 1e9, "train")
message = Message(content=flower_records.pack("RoundTask", task), metadata=metadata)
reply = app.app(message, Context(1, 22, {"fedstill-device": str(home)}, RecordDict(), {}))
print("refused: " + reply.error.reason if reply.has_error() else "done", flush=True)
"""


def task(round: int, *, epochs: int) -> RoundTask:
    plan = TrainingPlan(epochs, 8, 0.01, Optimizer.ADAMW, 2.0, 0.0, seed=1)
    request = SummaryRequest(SummaryKind.PUBLIC_SET, SoftLabelCodec(Encoding.UINT8), np.arange(5))
    return RoundTask("r1", round, FAMILY, plan, request, parameters=student())


def rules(home: AgentHome, *, min_free_disk_mb: float) -> None:
    asks_nothing = {"external_power": False, "unmetered_network": False, "max_other_load": 1}
    asks_nothing |= {"min_battery_percent": 0, "min_free_memory_mb": 0, "max_temperature_c": 0}
    partial = home.folder / "eligibility.partial"
    partial.write_text(json.dumps({**asks_nothing, "min_free_disk_mb": min_free_disk_mb}))
    partial.replace(home.folder / "eligibility.json")


def test_a_round_stops_within_five_seconds_and_nothing_is_lost(tmp_path: Path) -> None:
    home, content = enrolled_home(tmp_path / "home"), tmp_path / "task"
    rules(home, min_free_disk_mb=0)
    with PrivateStore.open(home) as store:
        store.observe_all(zip(*examples(40, seed=1), strict=True))
    with FleetDevice.opened(home.folder) as device:
        device.perform(task(1, epochs=2))
        before = device.store.latest()
    content.write_bytes(encode_task(task(2, epochs=10_000), codec=SoftLabelCodec(Encoding.FLOAT32)))

    command = [sys.executable, "-c", ROUND, str(home.folder), str(content)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "training\n"
        time.sleep(0.3)
        started = time.monotonic()
        rules(home, min_free_disk_mb=1e12)  # more than this machine has
        said = process.stdout.readline()
        taken = time.monotonic() - started

    assert said == "refused: not-now\n"  # and not how full the disk is
    assert taken < LIMIT_S
    with FleetDevice.opened(home.folder) as device, PrivateStore.open(home) as store:
        kept = device.store.latest()
        assert before is not None
        assert kept is not None
        assert kept.round == 1
        for name, array in before.parameters.items():
            np.testing.assert_array_equal(kept.parameters[name], array)
        assert store.counts().training + store.counts().held_out == 40
        assert [release.round for release in store.ledger.releases()] == [1]
        device.perform(task(2, epochs=2))
        assert [release.round for release in store.ledger.releases()] == [1, 2]
