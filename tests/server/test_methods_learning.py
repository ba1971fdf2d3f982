"""Every method on devices that really learn: three of them with two classes each, two families, two rounds.

All start from random students and have no public label. What a method does against forgetting shows in the
accuracy on everyone's examples; where it does little, the test says so.
"""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path
from typing import Any

import pytest
from fedstill_proto.messages import Optimizer, TrainingPlan
from fedstill_server.config.fleet import TeacherConfig
from fedstill_server.config.options import options_of
from fedstill_server.consensus.weighting import WEIGHTINGS
from fedstill_server.data.examples import Examples
from fedstill_server.methods import METHODS
from fedstill_server.rounds.events import subscribe
from fedstill_server.rounds.fleet_run import FleetRun
from fedstill_server.rounds.round_record import RoundRecord
from fedstill_server.rounds.run_store import RunStore

from tests.server.learning_fleet import FAMILIES, LearningGrid, examples
from tests.server.scripted_fleet import CLASSES, METHODS_OF_ANY_FAMILY, fleet_config

PLAN = TrainingPlan(
    epochs=4,
    batch_size=4,
    learning_rate=0.125,
    optimizer=Optimizer.SGD,
    temperature=2.0,
    soft_weight=0.5,
    seed=5,
)


@functools.cache
def played(method: str, *weighting: str) -> tuple[RoundRecord, ...]:
    public = Examples(examples(range(CLASSES), 12, seed=98)[0])
    asked: dict[str, Any] = {"weighting": weighting, "least_density_ratio": 0.3}
    options = options_of(METHODS.load(method))
    config = fleet_config(
        method,
        {name: value for name, value in asked.items() if name in {one.name for one in options}},
        families=FAMILIES,
        training=PLAN,
        start="random",
        use_public_labels=False,
        public_batch=0,
        rounds=2,
        teacher=TeacherConfig(hidden=(16,), epochs=1, student_epochs=1, round_epochs=60),
    )
    with tempfile.TemporaryDirectory() as folder:
        store = RunStore(Path(folder))
        grid = LearningGrid(public.x)
        with subscribe(grid.install):
            FleetRun(grid, config, public=public, store=store).run()
        records = tuple(store.records())
        store.close()
    return records


def everyone(method: str, *weighting: str) -> float:
    """Accuracy on everyone's examples after the last round, in everyone's scope."""
    accuracy = played(method, *weighting)[-1].fleet_global_accuracy  # without owners' label priors
    assert accuracy is not None
    return accuracy


# One knows nothing without public labels; the other takes many rounds.
@pytest.mark.parametrize("method", sorted({*METHODS_OF_ANY_FAMILY} - {"public-only", "fedadam"}))
def test_devices_of_two_families_learn(method: str) -> None:
    records = played(method)
    assert all(record.accepted == 3 and not record.quarantined for record in records)
    assert not any(record.evaluation_failures for record in records)
    assert (records[-1].personal_accuracy or 0) > 0.7  # by chance it would be a third


@pytest.mark.parametrize("method", ["fedmd", "dsfl", "scarlet", "cfd", "selective", "fedgkt", "feddf"])
def test_what_others_know_is_learned(method: str) -> None:
    # A device that only knows its own two of three classes gets two thirds of everyone's at best.
    assert everyone(method) > everyone("local") + 0.05


@pytest.mark.parametrize("method", ["class-logits", "fedproto", "fedtgp", "fedhkd"])
def test_class_summaries_teach_nothing_of_classes_that_a_device_does_not_have(method: str) -> None:
    assert abs(everyone(method) - everyone("local")) < 0.1


@pytest.mark.parametrize("piece", [*WEIGHTINGS, "all"])
def test_weighing_does_no_harm_here(piece: str) -> None:
    weighting = WEIGHTINGS if piece == "all" else (piece,)
    assert everyone("fedmd", *weighting) > everyone("local") + 0.05


def print_table() -> None:
    """python -m tests.server.test_methods_learning"""
    for method in METHODS_OF_ANY_FAMILY:
        last = played(method)[-1]
        print(f"{method:14s} {last.personal_accuracy:.3f} {last.global_accuracy:.3f}")
    for piece in (*WEIGHTINGS, "all"):
        print(piece, everyone("fedmd", *(WEIGHTINGS if piece == "all" else (piece,))))


if __name__ == "__main__":
    print_table()
