"""What a fleet says that it will ask of devices: read off its own tasks, for every method."""

from __future__ import annotations

import pytest
from fedstill_proto.task_bounds import TaskBounds
from fedstill_server.methods import METHODS, build_method
from fedstill_server.privacy.rule import PrivacyRule
from fedstill_server.publish.statement import statement_of
from fedstill_server.rounds.preparation import prepare

from tests.server.scripted_fleet import CLASSES, METHODS_OF_ANY_FAMILY, fleet_config, public_examples

_METHODS = [name for name in METHODS_OF_ANY_FAMILY if name in METHODS.built_in]


def said(name: str, *, most_rounds_a_day: int | None = None, **changes: object) -> TaskBounds:
    config = fleet_config(name, **changes)
    method = build_method(config, public_examples())
    state = prepare(config, public_examples(), method)
    return statement_of(config, method, state, "mlp-small", most_rounds_a_day=most_rounds_a_day)


@pytest.mark.parametrize("name", _METHODS)
def test_every_method_says_what_its_tasks_ask(name: str) -> None:
    config = fleet_config(name)
    method = build_method(config, public_examples())
    state = prepare(config, public_examples(), method)
    statement = statement_of(config, method, state, "mlp-small")
    for number in (1, 2, 3):
        task = method.task(state, round_number=number, family="mlp-small", newcomer=True)
        assert not list(statement.excess(TaskBounds.of_task(task, classes=CLASSES)))


def test_what_is_said_can_be_checked_by_hand() -> None:
    statement = said("fedavg")
    assert statement == TaskBounds(
        answers=("parameters",),
        starts=("task",),
        protection=("plain",),
        encodings=(),
        most_bits=1,
        most_rows=0,
        most_numbers=0,
        most_learning_rate=0.125,
        most_epochs=1,
        most_start_epochs=0,
        least_temperature=2.0,
        most_temperature=2.0,
        rounds_a_day=6,
        evaluations_a_day=6,
    )
    noised = said("class-logits", privacy=PrivacyRule(mode="local", noise_multiplier=1.0, clip=1.0))
    assert (noised.answers, noised.encodings, noised.evaluations_a_day) == (("class-means",), (), 0)
    assert noised.protection == ("noise",)
    public = said("public-logits", public_batch=5)  # of 12 rows: three batches of 4
    assert (public.answers, public.encodings, public.most_rows) == (("public-set",), ("uint8",), 4)
    assert (public.most_bits, public.most_numbers) == (8, 4 * CLASSES)


def test_rounds_a_day_are_twice_those_of_the_schedule() -> None:
    def a_day(most: int | None, **changes: object) -> int:
        return said("local", most_rounds_a_day=most, **changes).rounds_a_day

    assert [a_day(most, continuous=True) for most in (4, 24, 60, None)] == [8, 48, 60, 50]
    assert [a_day(most, rounds=10) for most in (4, 24, None)] == [8, 20, 20]
