"""What a device's own learning makes of its student: the agent's code, over a private store of its texts.

The last fifth of its training texts judges each check and is never trained on (see fedstill_client.learning).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fedstill_client.home import AgentHome
from fedstill_client.keyboard.typed_rows import with_texts
from fedstill_client.learning.learner import learn
from fedstill_client.learning.settings import LearningSettings
from fedstill_client.store import PrivateStore
from fedstill_proto.arrays import Parameters
from fedstill_proto.messages import Optimizer
from fedstill_proto.package.artifact import StudentPackage
from fedstill_server.export.build import ArtifactOptions
from fedstill_server.publish.package import package_of
from fedstill_server.tasks.interface import PackageFiles
from fedstill_server.tasks.text.keyboard import Keyboard

from fedstill_sim.folder import cache_folder
from fedstill_sim.tasks.text.data import Typist
from fedstill_sim.tasks.text.fleet import PLACES, chosen_texts, public_rows
from fedstill_sim.tasks.text.personal import set_aside

_BATCH_SIZE = 4  # rows: a device has a hundred
_K = 16


def keyboard_package(keyboard: Keyboard, family: str) -> StudentPackage:
    """What a device installs: the student, its training step over all words of the list, and the list."""
    words = len(keyboard.words)
    options = ArtifactOptions(
        family=family,
        input_shape=(PLACES,),
        classes=words,
        optimizer=Optimizer.ADAMW,
        soft_labels="top-k",
        k=min(_K, words - 1),
        stack_size=1,
        step_rows=2 * _BATCH_SIZE,
        step_vocabulary=words,
    )
    public_x: Any = public_rows(keyboard.texts, chosen_texts(keyboard.texts, seed=0))[0]
    return package_of(
        options,
        keyboard.students[family],
        package_version=1,
        public_x=public_x,
        files=PackageFiles(vocabulary=keyboard.words.to_json()),
        cache=cache_folder() / "artifacts",
    )


def learned_student(
    package: StudentPackage,
    typist: Typist,
    *,
    settings: LearningSettings,
    told: Callable[[str], None] = lambda words: None,
) -> Parameters:
    """The student that a device has once it has learned from its training texts; perhaps the one it had."""
    with (
        tempfile.TemporaryDirectory() as folder,
        PrivateStore.create(AgentHome(Path(folder) / "home")) as store,
    ):
        cut = set_aside(typist)
        for number, text in enumerate(typist.train):
            store.observe_text(text, held_out=number >= cut, observed_at=float(number))
        told(learn(with_texts(store, package), package, settings=settings).words)
        manifest = package.manifest
        own = store.students(manifest, manifest.package_version).latest()
        return package.parameters if own is None else own.parameters
