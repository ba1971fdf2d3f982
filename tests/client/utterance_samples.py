"""An assistant's small student and its package, that tests of agents share."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import numpy as np
from fedstill_client.home import AgentHome
from fedstill_client.packages.install import install
from fedstill_client.store import PrivateStore
from fedstill_proto.messages import Optimizer
from fedstill_proto.package.artifact import StudentPackage
from fedstill_proto.text.intents import IntentSchema
from fedstill_proto.text.ngrams import NgramHashing
from fedstill_server.export.build import ArtifactOptions
from fedstill_server.families import build_student
from fedstill_server.publish.package import package_of
from fedstill_server.tasks.interface import PackageFiles
from fedstill_server.training.fitting import FitPlan, fit
from fedstill_server.training.networks import parameters_of

PLACES = 24
NAMES = ("clean", "off", "on")
SCHEMA = IntentSchema(NAMES, temperature=0.5, threshold=0.97, hashing=NgramHashing(places=PLACES))
THINGS = ("lamp", "radio", "heater", "fan", "tv", "kettle")


@functools.cache
def assistant() -> StudentPackage:
    """Knows "turn on the lamp", "turn off the fan", "clean the tv" and the like."""
    texts = [f"{verb} the {thing}" for verb in ("clean", "turn off", "turn on") for thing in THINGS]
    x = SCHEMA.rows(texts)
    labels = np.repeat(np.arange(3), len(THINGS))
    plan = FitPlan(epochs=20, batch_size=9, learning_rate=1e-2, weight_decay=0.0)
    student = fit(build_student("ngrams", (PLACES,), 3), x, None, plan=plan, seed=0, labels=labels)
    options = ArtifactOptions(
        family="ngrams",
        input_shape=(PLACES,),
        classes=3,
        optimizer=Optimizer.MOMENTUM,
        soft_labels="dense",
        k=0,
        stack_size=1,
        step_rows=16,
    )
    return package_of(
        options,
        parameters_of(student),
        package_version=1,
        public_x=x,
        files=PackageFiles(intents=SCHEMA.to_json()),
    )


def home_of(folder: Path, package: StudentPackage) -> AgentHome:
    home = AgentHome(folder)
    home.create()
    home.description.write_text(json.dumps({"name": "kitchen", "family": package.manifest.family}))
    with PrivateStore.create(home) as store:
        install(home, store, package)
    return home
