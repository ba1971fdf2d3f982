"""An assistant of five languages that has learned what asks for nothing, made once for all tests."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
from fedstill_proto.package.artifact import StudentPackage
from fedstill_proto.text.intents import OUT_OF_SCOPE
from fedstill_server.publish.package import package_of
from fedstill_server.tasks.interface import PackageFiles
from fedstill_server.tasks.utterances.confidence import fitted_confidence
from fedstill_server.tasks.utterances.students import BY_LABELS, IntentStudent, trained_on_labels
from fedstill_server.tasks.utterances.tables import unasked_for
from fedstill_sim.tasks.utterances.data import Amounts, AssistantData, Utterance, load_assistant

AMOUNTS = Amounts(labelled=240, calibration=60, test=40, public=1)


@functools.cache
def spoken_data() -> AssistantData:
    return load_assistant(devices=1, amounts=AMOUNTS)


@functools.cache
def spoken_assistant() -> StudentPackage:
    """Made as `fedstill-server prepare` and `publish` make one, of fewer utterances."""
    data = spoken_data()
    names = (*data.intents, OUT_OF_SCOPE)

    def labelled(said: tuple[Utterance, ...]) -> list[tuple[str, str]]:
        return [(each.text, names[each.intent]) for each in said]

    held_out = labelled(data.calibration)
    more = unasked_for(labelled(data.labelled), seed=0, tested=held_out)
    rows = [*labelled(data.labelled), *more.polite, *((text, OUT_OF_SCOPE) for text in more.learned)]
    labels = np.array([names.index(label) for _, label in rows], np.int64)
    plan = replace(BY_LABELS, epochs=10)
    student = trained_on_labels("ngrams", [text for text, _ in rows], labels, classes=len(names), plan=plan)
    confidence = fitted_confidence(
        student.logits([text for text, _ in held_out]),
        np.array([names.index(label) for _, label in held_out], np.int64),
        nothing=len(names) - 1,
        unasked=student.logits(more.held_out),
    )
    return _package(student, student.schema(data.intents, confidence).to_json())


def _package(student: IntentStudent, intents: bytes) -> StudentPackage:
    public = np.asarray(student.hashing.encode_all([each.text for each in spoken_data().labelled[::8]]))
    return package_of(
        student.artifact_options(),
        student.parameters,
        package_version=1,
        public_x=public.astype(np.float32),
        files=PackageFiles(intents=intents),
    )
