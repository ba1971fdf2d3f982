"""Learn from the private store's examples; the student that answers is replaced only by a better one.

A step learns own labels and, where there are any, the fleet's soft labels of public examples, the one half
and half: as a round makes its devices' students. Where the fleet misleads the device (see model/misled.py),
it learns own labels alone.

Every `check_every` steps the student is scored (see evaluator.py) on the device's held-out examples, which it
never trains on, and on public ones. The best check counts: the one with the lowest loss among those with no
fewer right answers than the student from before. Learning ends when `patience` checks bring nothing better
(early stopping), after `epochs`, or when the budget is spent. If there is a best check, its student replaces
the one from before; if not, that one stays.

With fewer than `least_held_out` held-out examples such a score would be chance. The rule then: at most
`epochs_unjudged` epochs, scored in the same way on all of the device's examples together.
"""

from __future__ import annotations

from fedstill_proto.package.artifact import StudentPackage

from fedstill_client.agent_types import LearningOutcome, LearningResult, OnProgress, Stop
from fedstill_client.learning.budget import Budget
from fedstill_client.learning.examples import LearningExamples, LearningStore
from fedstill_client.learning.session import Refuses, TrainingSession
from fedstill_client.learning.settings import LearningSettings


def learn(
    store: LearningStore,
    package: StudentPackage,
    *,
    settings: LearningSettings | None = None,
    budget: Budget | None = None,
    on_progress: OnProgress = lambda _: None,
    stop: Stop = lambda: None,
    refuses: Refuses = lambda _: "",
) -> LearningResult:
    """Let the device's student learn from its own examples, or go on with a learning that was interrupted.

    Args:
        store: Where the examples, the student and the snapshot of a learning are kept.
        package: The installed student package.
        settings: How to learn; as usual by default.
        budget: What the learning may cost.
        on_progress: Called several times a second.
        stop: Asked several times a second; a reason ends this session, and the next call goes on from there.
        refuses: Says of a better student why it must not answer for all that; "" where it may.

    Returns:
        What the learning came to; where it was interrupted, so far.

    Raises:
        BudgetError: A limit is set that this device cannot measure.
        DeviceStoreError: Examples were forgotten meanwhile; the student from before is kept.
    """
    manifest = package.manifest
    settings, budget = settings or LearningSettings.of(manifest), budget or Budget()
    with store.students(manifest, manifest.package_version).locked():
        training, held_out = (store.examples(part).read_by(manifest) for part in ("training", "held-out"))
        if len(training.ids) < settings.least_examples:
            return _nothing_to_learn_from(len(training.ids), settings.least_examples)
        examples = LearningExamples.choose(training, held_out, least_held_out=settings.least_held_out)
        session = TrainingSession(store, package, examples, settings, budget, refuses=refuses)
        return session.run(on_progress, stop)


def _nothing_to_learn_from(examples: int, least: int) -> LearningResult:
    words = (
        f"There are {examples} training examples, and learning needs {least}. "
        "The student from before is kept."
    )
    return LearningResult(LearningOutcome.NOTHING, words)
