"""Rebuilds a device's private digits as a hostile server would, without the owner's policy and with it.

    python benchmarks/reconstruction.py                # minutes: 1,000 tasks for the default policy
    python benchmarks/reconstruction.py --tasks 100    # fewer

Prints, of each attack, how many of 40 private digits were found, and the correlations of what was found with
them beside those of the best public row, which no device has to answer for, and of the mean of the device's
other digits of the class. With the default policy it is an enrolled agent's home, which is asked once an
hour, for as many days as it takes; how many tasks it refused, and in which words, is printed, too.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import numpy as np
from fedstill_client.home import AgentHome
from fedstill_client.packages.install import install
from fedstill_client.privacy.policy import DevicePolicy
from fedstill_client.rounds.device import FleetDevice
from fedstill_client.store import PrivateStore
from fedstill_proto.arrays import Float64Array, FloatArray, IntArray
from fedstill_proto.codec.api import Expected, decode_summary, decode_task, encode_task
from fedstill_proto.errors import FedstillError
from fedstill_proto.messages import Optimizer, PrivateStatistics, RoundTask
from fedstill_proto.package.artifact import StudentPackage
from fedstill_proto.privacy import Noising
from fedstill_proto.soft_labels.codec import Encoding, SoftLabelCodec
from fedstill_server.export.build import ArtifactOptions, build_artifact
from fedstill_server.families import initial_parameters
from fedstill_server.publish.package import package_of
from fedstill_sim.audit.found_examples import FoundExamples, compare_found
from fedstill_sim.audit.inversion import Inversion, TaskRange
from fedstill_sim.audit.obedient_device import ObedientDevice
from fedstill_sim.audit.traps import from_parameters, from_soft_labels
from fedstill_sim.data.digits import load_digits

PRIVATE, FAMILY, NAME = 40, "mlp-small", "kitchen"
DECILES = (0, 10, 50, 90, 100)
OPTIONS = ArtifactOptions(
    family=FAMILY,
    input_shape=(8, 8),
    classes=10,
    optimizer=Optimizer.MOMENTUM,
    soft_labels="dense",
    stack_size=1,
    step_rows=32,
)
HOUR_S = 3600.0
POLICIES = (
    ("the default policy, and plain", DevicePolicy().allowing(["plain"])),
    ("the default policy", DevicePolicy()),
)
CLIP = 100.0  # above the length of what the attack's tasks move

Attack = Callable[[ObedientDevice], Float64Array]
TRAPS: tuple[tuple[str, Attack], ...] = (
    ("traps, parameters asked for, 6 tasks at most", lambda it: from_parameters(it, tasks=6, seed=0)),
    ("traps, float32 soft labels, 400 tasks", lambda it: from_soft_labels(it, tasks=400, seed=0)),
)


class Digits:
    """A writer's first digits, and the public set of other writers."""

    def __init__(self) -> None:
        data = load_digits(devices=10)
        rows = data.train[0][:PRIVATE]
        self.x: FloatArray = np.asarray(data.x)[rows]
        self.labels: IntArray = np.asarray(data.y)[rows]
        self.public_x: FloatArray = np.asarray(data.public_x)

    def found(self, candidates: Float64Array) -> FoundExamples:
        """How well candidates [m, pixels] show the digits."""
        return compare_found(candidates, self.x, self.labels, self.public_x)


@contextmanager
def days() -> Iterator[Callable[[], None]]:
    """A clock for the device's policy that goes on by an hour at each call: 24 tasks a day."""
    now = time.time()

    def tick() -> None:
        nonlocal now
        now += HOUR_S

    with patch("fedstill_client.privacy.guard.time", SimpleNamespace(time=lambda: now)):
        yield tick


def home_with(digits: Digits, package: StudentPackage, folder: Path, *, policy: DevicePolicy) -> AgentHome:
    """An enrolled agent's home with this policy, this package and the digits, all of them to learn."""
    home = AgentHome(folder)
    home.create()
    home.description.write_text(json.dumps({"name": NAME, "family": FAMILY}))
    policy.write(home.folder)
    with PrivateStore.create(home) as store:
        install(home, store, package)
        store.observe_all(list(zip(digits.x, digits.labels, strict=True)), held_out=False)
    return home


def against_policy(
    digits: Digits, folder: Path, *, policy: DevicePolicy, tasks: int, steps: int
) -> tuple[FoundExamples, int]:
    """The best attack that a policy lets through, in so many tasks."""
    artifact, student = build_artifact(OPTIONS), initial_parameters(FAMILY, (8, 8), 10, 0)
    package = package_of(OPTIONS, student, package_version=1, public_x=digits.public_x)
    home = home_with(digits, package, folder, policy=policy)
    asks = TaskRange(
        start_epochs=min(20, policy.most_start_epochs),
        epochs=min(4, policy.most_epochs),
        learning_rate=0.99 * min(0.1, policy.most_learning_rate),  # it travels as a float32
        bits=policy.most_bits,
        rows=min(len(digits.public_x), policy.most_rows),
        noising=Noising(CLIP, policy.least_noise_multiplier) if "plain" not in policy.protection else None,
    )
    attack = Inversion(
        artifact, student, public_x=digits.public_x, device=NAME, labels=digits.labels, asks=asks
    )
    refused: Counter[str] = Counter()

    with days() as hour, FleetDevice.opened(home.folder) as device:

        def answer(task: RoundTask) -> PrivateStatistics:
            sent = decode_task(encode_task(task, codec=SoftLabelCodec(Encoding.FLOAT32)))
            return decode_summary(device.perform(sent), expected=Expected.of(sent, 10, student)).statistics

        for number in range(1, tasks + 1):
            hour()
            try:
                attack.ask(answer, number=number)
            except FedstillError as error:
                refused[str(error)[:110]] += 1
    for text, many in refused.most_common(3):
        print(f"  refused {many:5d}: {text}")
    candidates = attack.found(steps=steps) if attack.tasks else np.zeros((0, 64))
    return digits.found(candidates), attack.tasks


def show(name: str, found: FoundExamples, tasks: int) -> None:
    """Print what an attack found."""
    total = len(found.found)
    print(f"{name}: {tasks} tasks answered")
    print(f"  within 1/32 a pixel               {(found.error <= 1 / 32).sum():3d} of {total}")
    print(f"  correlation above .99             {(found.found > 0.99).sum():3d} of {total}")
    print(f"  above the best public row         {found.above.sum():3d} of {total}")
    print(f"  and above the mean of the others  {found.above_all.sum():3d} of {total}")
    print("  correlation:                   least    10 %  median    90 %    most")
    for label, values in (
        ("what is found", found.found),
        ("best public row", found.public),
        ("mean of the class's others", found.others),
    ):
        print(f"    {label:27s}" + "".join(f"{value:8.3f}" for value in np.percentile(values, DECILES)))
    print(flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--tasks", type=int, default=1000, help="tasks against the default policy")
    parser.add_argument(
        "--steps", type=int, default=3000, help="steps of the search for the private examples"
    )
    options = parser.parse_args()
    began, digits = time.perf_counter(), Digits()
    print("Against a device that starts from whatever student it is sent, without a policy\n")
    for name, attack in TRAPS:
        device = ObedientDevice(build_artifact(OPTIONS), digits.x, digits.labels, public_x=digits.public_x)
        show(name, digits.found(attack(device)), device.tasks)
    print("Against an enrolled home with a policy, by a server that knows the digits' classes\n")
    for name, policy in POLICIES:
        with tempfile.TemporaryDirectory() as folder:
            found, tasks = against_policy(
                digits, Path(folder), policy=policy, tasks=options.tasks, steps=options.steps
            )
        show(f"{name}, starts of the server's choice, answers simulated", found, tasks)
    print(f"{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
