"""A device's part of a round: which student it starts from, what it answers, how it is measured."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from fedstill_client.model.forward import Forward
from fedstill_client.model.private_stack import PrivateStack
from fedstill_client.model.student_shapes import StudentMismatch
from fedstill_client.model.trainer import Personalizer
from fedstill_client.rounds.own_labels import p_values
from fedstill_client.rounds.round import (
    DeviceStack,
    NoStudent,
    RoundWork,
    evaluate,
    perform_round,
    starting_student,
)
from fedstill_proto.arrays import Parameters
from fedstill_proto.codec.api import Expected, decode_summary
from fedstill_proto.errors import FedstillError
from fedstill_proto.messages import (
    ClassSoftLabels,
    PersonalPlan,
    PublicSoftLabels,
    SummaryKind,
    SummaryRequest,
)
from fedstill_proto.soft_labels.codec import Encoding, SoftLabelCodec
from fedstill_proto.soft_labels.label_arrays import DenseSoftLabels

from tests.client.samples import CLASSES, SHAPE, artifact, examples, plan, soft_rows, stack_of, student, task

UINT8 = SoftLabelCodec(Encoding.UINT8)


def own_students(*seeds: int) -> Parameters:
    students = [student(seed) for seed in seeds]
    return {name: np.stack([one[name] for one in students]) for name in students[0]}


def constant_student(answer: int, *, margin: float = 10.0) -> Parameters:
    """A student that answers one class whatever it sees, `margin` ahead of the others."""
    parameters = {name: np.zeros_like(array) for name, array in student().items()}
    parameters["output.bias"][answer] = margin
    return parameters


class TestStart:
    """The student that a round starts from."""

    manifest = artifact().manifest

    def test_a_device_without_a_student_takes_the_tasks(self) -> None:
        stack = DeviceStack(["a"], stack_of(3))

        assert starting_student(stack, task(parameters=student(4)), self.manifest)["output.bias"].shape == (
            3,
        )

    def test_a_device_keeps_its_own(self) -> None:
        own = own_students(1)

        chosen = starting_student(DeviceStack(["a"], stack_of(3), own), task(), self.manifest)

        assert chosen is own

    def test_a_student_that_replaces_wins(self) -> None:
        stack = DeviceStack(["a"], stack_of(3), own_students(1))
        replacing = task(parameters=student(4), replace_student=True)

        assert starting_student(stack, replacing, self.manifest) is replacing.parameters

    def test_nothing_to_start_from(self) -> None:
        with pytest.raises(NoStudent, match="round 3 of run abcd1234 brings no student"):
            starting_student(DeviceStack(["a"], stack_of(3)), task(parameters={}, round=3), self.manifest)

    def test_a_student_of_another_shape(self) -> None:
        wrong = student() | {"output.bias": np.zeros(5, np.float32)}
        with pytest.raises(StudentMismatch, match=r"output\.bias"):
            starting_student(DeviceStack(["a"], stack_of(3)), task(parameters=wrong), self.manifest)

    def test_another_family(self) -> None:
        with pytest.raises(StudentMismatch, match="family 'cnn'; here is 'mlp-small'"):
            starting_student(DeviceStack(["a"], stack_of(3)), task(family="cnn"), self.manifest)


def test_a_round_is_the_same_for_a_device_alone_and_in_a_stack() -> None:
    private, public_x = stack_of(5, 23, 0, 9, 40), examples(12, seed=5)[0]
    targets = PublicSoftLabels(np.arange(12), DenseSoftLabels(soft_rows(12)))
    request = SummaryRequest(SummaryKind.PUBLIC_SET, UINT8, np.arange(12))
    training = dataclasses.replace(plan(epochs=2, soft_weight=0.5), held_out=0.2)
    round_task = task(training, request=request, soft_targets=targets, parameters={})
    names, own = ["a", "b", "c", "d", "e"], own_students(1, 2, 3, 4, 5)
    built = artifact(stack_size=5)
    together = perform_round(
        DeviceStack(names, private, own), round_task, Personalizer(built), Forward(built), public_x
    )

    one = artifact()
    personalizer, forward = Personalizer(one), Forward(one)
    for device, count in enumerate(private.counts):
        mine = PrivateStack.of_one(private.x[device, :count], private.labels[device, :count])
        parameters = {name: array[device : device + 1] for name, array in own.items()}
        stack = DeviceStack([names[device]], mine, parameters)
        alone = perform_round(stack, round_task, personalizer, forward, public_x)
        assert together.summaries[device] == alone.summaries[0]
        assert together.loss[device] == alone.loss[0]
        assert together.alone[device] == alone.alone[0]
        for name, array in alone.parameters.items():
            np.testing.assert_array_equal(together.parameters[name][device], array[0])


def test_training_comes_before_the_summary() -> None:
    private = stack_of(8)
    built = artifact()
    round_task = task(
        plan(epochs=3),
        request=SummaryRequest(SummaryKind.CLASS_MEANS, SoftLabelCodec(Encoding.FLOAT32)),
    )
    personalizer, forward = Personalizer(built), Forward(built)
    work = perform_round(DeviceStack(["a"], private), round_task, personalizer, forward)

    untrained = task(plan(epochs=0), request=round_task.request, parameters={})
    said = perform_round(DeviceStack(["a"], private, work.parameters), untrained, personalizer, forward)

    assert work.summaries == said.summaries
    assert work.training_seconds > 0
    assert work.summary_seconds > 0


def test_the_owner_s_student_may_have_a_plan_of_its_own() -> None:
    built, stack = artifact(stack_size=2), DeviceStack(["a", "b"], stack_of(8, 5))
    request = SummaryRequest(SummaryKind.CLASS_MEANS, UINT8)

    def done(epochs: int, personal: PersonalPlan | None) -> RoundWork:
        asked = dataclasses.replace(task(plan(epochs=epochs), request=request), personal=personal)
        return perform_round(stack, asked, Personalizer(built), Forward(built))

    longer = PersonalPlan(epochs=4, learning_rate=plan().learning_rate)
    plain, owned, direct = done(1, None), done(1, longer), done(4, None)

    assert owned.summaries == plain.summaries  # what it says is what it learned in the round
    for name, start in student().items():
        np.testing.assert_array_equal(owned.fleet[name], start)
        np.testing.assert_array_equal(owned.parameters[name], direct.parameters[name])


def test_labels_of_one_s_own_are_learned_without_the_fleet() -> None:
    """Three devices: whom the fleet is right about, whom it misleads, and one with too few examples."""
    private = _of_one_class(1, 2, 2, counts=(25, 25, 24))
    built, x = artifact(stack_size=3), examples(6, seed=5)[0]
    sure = np.tile(np.array([[0.02, 0.96, 0.02]], np.float32), (6, 1))
    asked = task(
        dataclasses.replace(plan(epochs=1, soft_weight=0.9), held_out=0.2),
        parameters=constant_student(1, margin=5.0),
        replace_student=True,
        request=SummaryRequest(SummaryKind.PUBLIC_SET, UINT8, np.arange(6)),
        soft_targets=PublicSoftLabels(np.arange(6), DenseSoftLabels(sure)),
    )
    stack = DeviceStack(["a", "b", "c"], private)

    work = perform_round(stack, asked, Personalizer(built), Forward(built), x)
    counted = evaluate(
        DeviceStack(["a", "b", "c"], private, work.parameters, fleet=work.fleet),
        dataclasses.replace(asked, parameters={}, replace_student=False, soft_targets=None),
        Forward(built),
        personal_test=private,
        owner_share=0.0,
    )

    assert work.alone.tolist() == [False, True, False]
    assert counted.personal_correct.tolist() == [25, 25, 0]
    assert counted.fleet_personal_correct.tolist() == [25, 0, 0]


def test_five_better_answers_and_no_worse_are_one_in_thirty_two() -> None:
    other = np.array([[1, 1, 1, 1, 1, 0], [1, 1, 1, 1, 1, 1], [0, 1, 0, 0, 1, 0]])
    kept = np.array([[0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 2], [0, 1, 0, 0, 1, 0]])

    # 5 of 5; 5 or 6 heads of 6; no example tells the last two apart.
    np.testing.assert_allclose(p_values(other, kept), [1 / 32, 7 / 64, 1])


def _of_one_class(*labels: int, counts: tuple[int, ...]) -> PrivateStack:
    rows = np.repeat(np.array(labels)[:, None], max(counts), axis=1)
    return PrivateStack(np.zeros((*rows.shape, *SHAPE), np.float32), rows, np.array(counts))


def test_a_proximal_pull_is_part_of_the_gradient() -> None:
    # Four examples are one step an epoch: the first is at the start, where nothing pulls.
    built, stack, rate, mu = artifact(), DeviceStack(["a"], stack_of(4)), 0.1, 0.5

    def trained(epochs: int, proximal: float) -> Parameters:
        training = dataclasses.replace(plan(epochs=epochs, learning_rate=rate), proximal=proximal)
        return perform_round(stack, task(training), Personalizer(built), Forward(built)).parameters

    once, twice = trained(1, 0.0), trained(2, 0.0)
    pulled_once, pulled_twice = trained(1, mu), trained(2, mu)

    for name, start in student().items():
        np.testing.assert_array_equal(pulled_once[name], once[name])
        expected = twice[name] - rate * mu * (once[name] - start)
        np.testing.assert_allclose(pulled_twice[name], expected, atol=1e-7)


def test_a_relative_answer_says_how_far_training_went() -> None:
    built, x = artifact(), examples(3, seed=9)[0]
    request = SummaryRequest(SummaryKind.PUBLIC_SET, UINT8, np.arange(3), relative=True)
    said = []
    for epochs in (0, 3):
        asked = task(plan(epochs=epochs), request=request)
        work = perform_round(DeviceStack(["a"], stack_of(8)), asked, Personalizer(built), Forward(built), x)
        assert work.summaries[0] is not None
        answer = decode_summary(work.summaries[0], expected=Expected.of(asked, CLASSES, student()))
        assert answer.statistics.soft_labels is not None
        said.append(answer.statistics.soft_labels.dense())

    np.testing.assert_allclose(said[0], 1 / CLASSES, atol=1 / 255)  # nothing learned, nothing to say
    assert np.abs(said[1] - 1 / CLASSES).max() > 0.02


def test_trained_students_go_where_they_are_wanted() -> None:
    built = artifact(stack_size=2)
    sizes = {name: array.size for name, array in student().items()}
    file = np.zeros((2, sum(sizes.values())), np.float32)  # as the simulator keeps them: a row a device
    edges = np.cumsum([0, *sizes.values()])
    views = {
        name: file[:, start:stop].reshape(2, *student()[name].shape)
        for name, start, stop in zip(sizes, edges, edges[1:], strict=False)
    }
    stack = DeviceStack(["a", "b"], stack_of(8, 5))

    there = perform_round(stack, task(), Personalizer(built), Forward(built), out=views)
    new = perform_round(stack, task(), Personalizer(built), Forward(built))

    np.testing.assert_array_equal(
        file, np.concatenate([new.parameters[name].reshape(2, -1) for name in sizes], axis=1)
    )
    assert np.shares_memory(there.parameters["output.bias"], file)


def test_devices_behind_the_last_name_are_padding() -> None:
    built = artifact(stack_size=3)

    work = perform_round(DeviceStack(["a"], stack_of(4, 0, 0)), task(), Personalizer(built), Forward(built))

    assert len(work.summaries) == 1


def test_a_device_that_diverges_keeps_its_student_and_disturbs_no_other() -> None:
    private = stack_of(8, 8, 8)
    private.x[1] = 1e30
    built = artifact(stack_size=3)
    names, own = ["a", "b", "c"], own_students(1, 2, 3)
    round_task = task(plan(epochs=3), parameters={}, request=SummaryRequest(SummaryKind.PARAMETERS))

    work = perform_round(DeviceStack(names, private, own), round_task, Personalizer(built), Forward(built))

    assert work.summaries[1] is None
    for name, array in own.items():
        np.testing.assert_array_equal(work.parameters[name][1], array[1])
    expected = Expected.of(round_task, CLASSES, student())
    for device in (0, 2):
        blob = work.summaries[device]
        assert blob is not None
        assert decode_summary(blob, expected=expected).statistics.examples == 8
        assert not np.array_equal(work.parameters["output.bias"][device], own["output.bias"][device])


def test_class_knowledge_of_the_fleet_moves_a_student() -> None:
    # All soft: the private labels say class 0, the fleet says class 2 for them.
    private = PrivateStack(np.ones((1, 4, *SHAPE), np.float32), np.zeros((1, 4), np.int64), np.array([4]))
    fleet = ClassSoftLabels(np.array([0]), DenseSoftLabels(np.array([[0, 0, 1]], np.float32)))
    training = plan(epochs=50, soft_weight=1.0, learning_rate=0.5)
    built = artifact()
    personalizer, forward = Personalizer(built), Forward(built)

    work = perform_round(
        DeviceStack(["a"], private), task(training, soft_targets=fleet), personalizer, forward
    )

    assert forward.own(work.parameters, private).argmax(-1).tolist() == [[2, 2, 2, 2]]


class TestEvaluation:
    """Right answers, counted by hand on students that always say the same."""

    private = PrivateStack(np.zeros((2, 2, *SHAPE), np.float32), np.array([[1, 1], [0, 2]]), np.array([2, 2]))
    test = PrivateStack(
        np.zeros((2, 4, *SHAPE), np.float32), np.array([[1, 1, 0, 1], [1, 2, 2, 2]]), np.array([3, 2])
    )
    everyone = (np.zeros((5, *SHAPE), np.float32), np.array([0, 0, 1, 2, 1]))

    def test_counts(self) -> None:
        students = [constant_student(1), constant_student(2)]
        own = {name: np.stack([one[name] for one in students]) for name in students[0]}
        stack = DeviceStack(["a", "b"], self.private, own)

        counted = evaluate(
            stack,
            task(),
            Forward(artifact(stack_size=2)),
            personal_test=self.test,
            global_test=self.everyone,
            owner_share=0.0,
        )

        assert counted.personal_correct.tolist() == [2, 1]  # padding is not counted
        assert counted.personal_examples.tolist() == [3, 2]
        assert counted.global_correct.tolist() == [2, 1]
        assert counted.global_examples.tolist() == [5, 5]

    def test_a_replacing_student_is_measured_on_every_device(self) -> None:
        stack = DeviceStack(["a", "b"], self.private, own_students(1, 2))
        round_task = task(parameters=constant_student(0), replace_student=True)

        counted = evaluate(stack, round_task, Forward(artifact(stack_size=2)), global_test=self.everyone)

        assert counted.global_correct.tolist() == [2, 2]
        assert counted.personal_examples.tolist() == [0, 0]

    def test_both_accuracies_are_of_the_same_answers(self) -> None:
        # Class 2 leads by 0.3; the first device has only seen class 1, which its prior favours by more.
        round_task = task(parameters=constant_student(2, margin=0.3), replace_student=True)
        stack, forward = DeviceStack(["a", "b"], self.private), Forward(artifact(stack_size=2))

        counted = evaluate(
            stack, round_task, forward, personal_test=self.test, global_test=self.everyone, owner_share=0.3
        )

        assert counted.personal_correct.tolist() == [2, 1]  # it says 1, 2 of 3 right
        assert counted.global_correct.tolist() == [2, 1]  # and 1 elsewhere, too
        assert counted.fleet_personal_correct.tolist() == [0, 1]  # the fleet's student says 2 everywhere
        assert counted.fleet_global_correct.tolist() == [1, 1]

    def test_everyone_s_scope_is_what_the_round_started_from(self) -> None:
        stack = DeviceStack(["a", "b"], self.private, own_students(1, 2), fleet=constant_student(0))

        counted = evaluate(
            stack, task(parameters={}), Forward(artifact(stack_size=2)), global_test=self.everyone
        )

        assert counted.fleet_global_correct.tolist() == [2, 2]

    def test_large_global_sets_are_walked_in_parts(self) -> None:
        x, _ = examples(2500)
        labels = np.zeros(2500, np.int64)
        labels[::5] = 1
        round_task = task(parameters=constant_student(1), replace_student=True)

        counted = evaluate(
            DeviceStack(["a"], stack_of(1)), round_task, Forward(artifact()), global_test=(x, labels)
        )

        assert counted.global_correct.tolist() == [500]


def test_more_names_than_devices_are_refused() -> None:
    with pytest.raises(FedstillError, match="2 names for a stack of 1"):
        DeviceStack(["a", "b"], stack_of(3))
