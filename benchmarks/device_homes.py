"""Homes of devices for the benchmarks: a package as the server publishes it, beside a private store.

    python benchmarks/device_homes.py FOLDER --family mlp-small --inputs 64 --examples 300

Makes the home in a process of its own, so that the process that measures never loads torch.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from fedstill_client.home import AgentHome
from fedstill_client.packages.install import install
from fedstill_client.store import PrivateStore
from fedstill_proto.package.artifact import StudentManifest, StudentPackage

CLASSES = 10
# Students of text: rows of so many words out of so many, of which a training step sees some.
TEXT_FAMILIES, PLACES, WORDS, STEP_WORDS = ("gru", "transformer"), 20, 10_000, 2_000


def make_home(folder: Path, *, family: str, inputs: int, examples: int = 300) -> AgentHome:
    """Make a home at `folder` in a child process."""
    options = ["--family", family, "--inputs", str(inputs), "--examples", str(examples)]
    subprocess.run([sys.executable, __file__, str(folder), *options], check=True)
    return AgentHome(folder)


def sample(count: int, inputs: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Draw examples [count, inputs] whose class is a noisy linear function of them, and their labels."""
    rng = np.random.default_rng(seed)
    directions = np.random.default_rng(1234).normal(size=(inputs, CLASSES))
    x = rng.normal(size=(count, inputs)).astype(np.float32)
    noisy = x @ directions + rng.normal(size=(count, CLASSES))
    return x, noisy.argmax(axis=1).astype(np.int64)


def examples_of(manifest: StudentManifest, count: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Draw examples as a student takes them, and their labels; for text, rows of words and the next ones."""
    if manifest.input_type != "int64":
        return sample(count, *manifest.input_shape, seed=seed)
    often = np.random.default_rng(seed).zipf(1.3, (count, manifest.input_shape[0] + 1))
    words = often % manifest.classes
    return words[:, :-1], words[:, 1:]


def package(family: str, inputs: int, version: int) -> StudentPackage:
    """Build a package as the server does, in a process that may load torch."""
    if family in TEXT_FAMILIES:
        return text_package(family, version)
    from fedstill_proto.messages import Optimizer, TrainingPlan
    from fedstill_server.config.choice import Choice
    from fedstill_server.config.fleet import FleetConfig
    from fedstill_server.families import initial_parameters
    from fedstill_server.publish.package import build_package

    plan = TrainingPlan(1, 16, 0.01, Optimizer.ADAMW, 2.0, 0.3, 0)
    config = FleetConfig(
        run="0123abcd",
        method=Choice(name="public-logits"),
        rounds=1,
        seed=0,
        families=(family,),
        classes=CLASSES,
        input_shape=(inputs,),
        public_set="public.npz",
        training=plan,
    )
    return build_package(
        config,
        family,
        initial_parameters(family, (inputs,), CLASSES, version - 1),
        package_version=version,
        public_x=sample(200, inputs, seed=2)[0],
    )


def text_package(family: str, version: int) -> StudentPackage:
    """Build a package of a student of text, as large as a keyboard's."""
    from fedstill_proto.messages import Optimizer
    from fedstill_server.export.build import ArtifactOptions
    from fedstill_server.families import initial_parameters
    from fedstill_server.publish.package import package_of

    options = ArtifactOptions(
        family=family,
        input_shape=(PLACES,),
        classes=WORDS,
        optimizer=Optimizer.ADAMW,
        soft_labels="top-k",
        k=32,
        stack_size=1,
        step_rows=32,
        step_vocabulary=STEP_WORDS,
    )
    weights = initial_parameters(family, (PLACES,), WORDS, version - 1)
    public = np.random.default_rng(2).zipf(1.3, (200, PLACES)) % WORDS
    return package_of(options, weights, package_version=version, public_x=public)


def fill_home(home: AgentHome, installed: StudentPackage, *, examples: int) -> None:
    """Make the home, with this package installed and so many examples observed."""
    home.create()
    description = {"name": "benchmark", "family": installed.manifest.family}
    home.description.write_text(json.dumps(description))
    with PrivateStore.create(home) as store:
        install(home, store, installed)
        x, labels = examples_of(installed.manifest, examples)
        store.observe_all(zip(x, labels, strict=True))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--family", required=True)
    parser.add_argument("--inputs", type=int, required=True)
    parser.add_argument("--examples", type=int, default=300)
    given = parser.parse_args()
    fill_home(AgentHome(given.folder), package(given.family, given.inputs, 1), examples=given.examples)
