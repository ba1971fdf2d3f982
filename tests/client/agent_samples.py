"""An enrolled device's home, with a real private store and an installed package."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from fedstill_client.home import AgentHome
from fedstill_client.packages.install import install
from fedstill_client.privacy.policy import DevicePolicy
from fedstill_client.store import PrivateStore
from fedstill_proto.messages import Optimizer
from fedstill_proto.package.artifact import StudentPackage
from fedstill_proto.task_bounds import ANSWERS, ENCODINGS, PROTECTIONS, STARTS

from tests.client.package_samples import full_package
from tests.client.samples import FAMILY, artifact, examples


def trainable_package(version: int = 1) -> StudentPackage:
    """A package that learns with AdamW in steps of 16 rows, with a public set."""
    trained = artifact(step_rows=16, optimizer=Optimizer.ADAMW)
    package = full_package(version)
    manifest = dataclasses.replace(package.manifest, optimizer=Optimizer.ADAMW, step_rows=16)
    return dataclasses.replace(
        package,
        manifest=manifest,
        training_graph=trained.training_graph,
        forward_graph=trained.forward_graph,
        public_x=examples(12, seed=3)[0],
    )


OPEN = DevicePolicy(
    answers=ANSWERS,
    starts=STARTS,
    encodings=ENCODINGS,
    protection=PROTECTIONS,
    most_bits=32,
    most_learning_rate=1e6,
    most_epochs=1_000_000,
    least_temperature=1e-3,
    least_noise_multiplier=0.0,
    epsilon=1e3,
)
"""A policy that lets tasks ask for all that there is, where a test is about other things."""

PLAIN_TOO = DevicePolicy().allowing(["plain"])
"""The default, of an owner who believes the server: answers leave without noise, too."""


def enrolled_home(folder: Path, *, owner_share: float = 1.0, policy: DevicePolicy | None = OPEN) -> AgentHome:
    """A home with a package and this policy; None is what a home of an earlier release has."""
    home = AgentHome(folder)
    home.create()
    if policy is not None:
        policy.write(home.folder)
    home.description.write_text(json.dumps({"name": "kitchen", "family": FAMILY, "owner_share": owner_share}))
    with PrivateStore.create(home) as store:
        install(home, store, trainable_package())
    return home
