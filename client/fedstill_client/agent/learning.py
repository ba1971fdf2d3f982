"""An agent's learning: the private store's examples, the installed package, and a person's options."""

from __future__ import annotations

from fedstill_client.agent_types import (
    Judgement,
    LearningProgress,
    LearningResult,
    OnProgress,
    PersonalizeOptions,
    Stop,
)
from fedstill_client.home import AgentHome
from fedstill_client.keyboard.typed_rows import with_typed
from fedstill_client.learning import Budget, LearningOutcome, LearningSettings, learn
from fedstill_client.learning import Judgement as Judged
from fedstill_client.learning import LearningProgress as Progressed
from fedstill_client.packages.install import load_installed
from fedstill_client.rounds.device import DeviceDescription
from fedstill_client.store import PrivateStore

_SETTINGS = ("epochs", "batch_size", "learning_rate", "temperature", "soft_weight", "seed")


def learn_now(
    home: AgentHome, store: PrivateStore, options: PersonalizeOptions, on_progress: OnProgress, stop: Stop
) -> LearningResult:
    """Learn until the options' budget is spent, `stop` gives a reason, or nothing gets better."""
    chosen = {name: getattr(options, name) for name in _SETTINGS if getattr(options, name) is not None}
    settings = LearningSettings(**chosen, label_prior=DeviceDescription.read(home.folder).label_prior)
    package = load_installed(home, store)
    outcome = learn(
        with_typed(store, package),
        package,
        settings=settings,
        budget=Budget(seconds=options.max_seconds, steps=options.max_steps),
        on_progress=lambda progress: on_progress(_progress(progress, settings.epochs)),
        stop=stop,
    )
    return _result(outcome)


def _progress(progress: Progressed, epochs: int) -> LearningProgress:
    return LearningProgress(
        steps=progress.step,
        epoch=progress.epoch,
        epochs=epochs,
        training_loss=progress.training_loss,
        seconds=progress.seconds,
        best=_judgement(progress.best),
    )


def _result(outcome: LearningOutcome) -> LearningResult:
    return LearningResult(
        result=outcome.result.value,
        words=outcome.words,
        before=_judgement(outcome.before),
        after=_judgement(outcome.after),
        judged_on=outcome.judged_on,
        steps=outcome.steps,
        epochs=outcome.epochs,
        seconds=outcome.seconds,
        joules=outcome.joules,
        soft_labels=outcome.soft_labels,
        soft_examples=outcome.soft_examples,
        resumed=outcome.resumed,
    )


def _judgement(judged: Judged | None) -> Judgement | None:
    return None if judged is None else Judgement(judged.loss, judged.correct, judged.answers)
