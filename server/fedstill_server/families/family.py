"""What a family is, and how a function or class of one's own becomes one."""

from __future__ import annotations

import copy
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from fedstill_server.data.forms import AMOUNTS, NGRAMS, WORDS, ExampleForm
from fedstill_server.families.train_rule import TrainRule
from fedstill_server.plugins import PluginError, called

if TYPE_CHECKING:
    from torch import nn

Shape = tuple[int, ...]

ARRAYS, TEXT, UTTERANCES = "arrays", "text", "utterances"
"""The tasks that built-in families are of."""
SUBWORDS, NEXT_SUBWORDS = "subwords", "next-subwords"
"""The tasks of families that are models of Hugging Face: texts as rows of sub-words, with classes or vectors,
and with the sub-word that comes next at each place."""
FORMS = {ARRAYS: AMOUNTS, TEXT: WORDS, UTTERANCES: NGRAMS}
"""What examples of these tasks are."""

_GIVEN = {"input_shape": "input_shape", "classes": "classes", "num_classes": "classes"}


@dataclass(frozen=True)
class Family:
    """What a family's name stands for.

    Attributes:
        build: Makes a student from the shape of one example and the number of classes.
        task: Whose examples the students take: "arrays", "text", "utterances", or a task of one's own.
        form: What the students' examples are.
    """

    build: Callable[[Shape, int], nn.Module]
    task: str = ARRAYS
    form: ExampleForm = AMOUNTS


def family_of(found: object) -> Family:
    """The family that a function or a class of torch modules is, or a module that is made already.

    Its parameters decide how it is called, by name: `input_shape` and `classes` (or `num_classes`) are given
    where it has them, and all others need defaults. Every student of a module that is made already begins as
    a copy of it. An attribute `task` says which task it is of, and `form`
    what its examples are, where they are not those of the task, or arrays of amounts.

    Raises:
        PluginError: For anything else.
    """
    if isinstance(found, Family):
        return found
    torch = sys.modules.get("torch")
    is_made = torch is not None and isinstance(found, torch.nn.Module)
    if not callable(found):
        raise PluginError(
            f"a {type(found).__name__}; a family is a function or a class of torch modules with the "
            "parameters input_shape and classes"
        )
    task = getattr(found, "task", ARRAYS)
    if not isinstance(task, str):
        raise PluginError(f"its task is {task!r}; give a task's name, such as {ARRAYS!r}")
    form = getattr(found, "form", FORMS.get(task, AMOUNTS))
    if not isinstance(form, ExampleForm):
        raise PluginError(f"its form is {form!r}; give a fedstill_server.data.forms.ExampleForm")
    make, wanted = found, () if is_made else _wanted(found)

    def build(input_shape: Shape, classes: int) -> nn.Module:
        if is_made:
            copied: nn.Module = copy.deepcopy(make).float()  # type: ignore[attr-defined]
            return copied
        known = {"input_shape": input_shape, "classes": classes}
        network: nn.Module = make(**{name: known[_GIVEN[name]] for name in wanted})
        return network

    return Family(build, task, form)


def partly_trained(name: str, family: Family, rule: TrainRule) -> Family:
    """The family whose students train what `rule` names, and hold the rest frozen."""

    def build(input_shape: Shape, classes: int) -> nn.Module:
        import torch

        from fedstill_server.families.adapting import adapted

        network = family.build(input_shape, classes)
        x = torch.zeros(2, *input_shape, dtype=getattr(torch, family.form.input_type))
        return adapted(name, network, rule, x)

    return replace(family, build=build)


def build_own(name: str, family: Family, input_shape: Shape, classes: int) -> nn.Module:
    """A network of one's own, once it is known to answer as a student or a teacher does.

    Raises:
        PluginError: For what its code raises, and for a network whose answers have another shape.
    """
    import torch

    from fedstill_server.families.state import student_state, train_mode

    network: object = called(name, lambda: family.build(input_shape, classes))
    if not isinstance(network, torch.nn.Module):
        raise PluginError(f"{name}: it makes a {type(network).__name__}, not a torch module")
    network = network.float()
    network.register_forward_hook(take_logits)
    state = student_state(network)
    train_mode(network)
    before = {each: value.clone() for each, value in network.named_buffers()}
    x = torch.zeros(2, *input_shape, dtype=getattr(torch, family.form.input_type))
    train_mode(network)
    with torch.no_grad():
        logits: Any = called(f"{name}, of examples {list(x.shape)}", lambda: network(x))
    expected = (len(x), *family.form.label_shape(input_shape), classes)
    shape = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
    if shape != expected:
        raise PluginError(
            f"{name}: to examples {list(x.shape)} it answers {shape}; its logits should be {expected}"
        )
    moved = [each for each, value in network.named_buffers() if not torch.equal(value, before[each])]
    others = [each for each in moved if each not in state.buffers and before[each].is_floating_point()]
    if others:
        raise PluginError(
            f"{name}: {', '.join(others)} change while it answers; of what no gradient changes, only the "
            "running statistics of batch normalization are kept and travel: make it a parameter, or use "
            "nn.BatchNorm1d, 2d or 3d, or nn.GroupNorm"
        )
    with torch.no_grad():
        for each, value in network.named_buffers():
            value.copy_(before[each])
    _check_momentum(name, network)
    return network


def take_logits(network: nn.Module, given: object, answer: Any) -> Any:
    """The hook that takes the logits out of an answer with a field of that name, as Hugging Face's have."""
    return getattr(answer, "logits", answer)


def _check_momentum(name: str, network: nn.Module) -> None:
    from fedstill_server.families.state import moving_layers

    for place, layer in moving_layers(network):
        if layer.momentum is None:
            raise PluginError(
                f"{name}: {place} averages its statistics over all batches so far (momentum=None), a number "
                "that would have to travel; give it a momentum, such as 0.1"
            )


def _wanted(found: Callable[..., object]) -> tuple[str, ...]:
    """The parameters that a family is called with, by name."""
    try:
        parameters = inspect.signature(found).parameters.values()
    except (TypeError, ValueError):
        raise PluginError("it does not say what it is called with; write a function around it") from None
    by_name = [each for each in parameters if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)]
    others = [
        each.name
        for each in parameters
        if each.default is each.empty
        and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
        and not (each in by_name and each.name in _GIVEN)
    ]
    if others:
        raise PluginError(
            f"it needs {', '.join(others)}, and is called with input_shape and classes, by name, and with "
            "nothing else: give the others defaults, or write a function that does"
        )
    return tuple(each.name for each in by_name if each.name in _GIVEN)
