"""Teachers by name, without torch: networks of one's own that teach a fleet, or a student.

A teacher is what a family is, a function or a class of torch modules that takes `input_shape`, `classes`,
both or neither; a network that is made already; a fitted estimator with `predict_proba`, or an ONNX file,
which answer and learn nothing. It is named as `module:name`, by an entry point of the group
"fedstill.teachers", by `TEACHERS.register`, or by the path of its .onnx file.
"""

from __future__ import annotations

import copy
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedstill_proto.errors import unknown_name

from fedstill_server.families.family import ARRAYS, Shape, build_own, family_of, take_logits
from fedstill_server.families.registry import FAMILIES
from fedstill_server.plugins import PluginError, Registry, called
from fedstill_server.state import digest_of

if TYPE_CHECKING:
    from torch import nn

    from fedstill_server.teachers.estimator import EstimatorTeacher
    from fedstill_server.teachers.onnx_file import OnnxTeacher

ONNX_SUFFIX = ".onnx"


def teacher_like(found: object) -> object:
    """`found`, if it can be a teacher, or make one.

    Raises:
        PluginError: For anything else.
    """
    if not (callable(found) or is_made(found)):
        raise PluginError(
            f"a {type(found).__name__}; a teacher is a torch module, an estimator with predict_proba, or a "
            "function or class that makes one"
        )
    return found


def is_made(found: object) -> bool:
    """Whether it is a teacher itself, and nothing that makes one."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(found, torch.nn.Module):
        return True
    return not isinstance(found, type) and (hasattr(found, "predict_proba") or hasattr(found, "classes_"))


TEACHERS: Registry[object] = Registry("teacher", group="fedstill.teachers", built_in={}, check=teacher_like)
"""The teachers that other distributions bring, and those of this process; fedstill's own need no name."""


def require_network(name: str, *, where: str = "teacher") -> None:
    """Refuse a name that stands for nothing that could teach a fleet; nothing is imported.

    Raises:
        UnknownName: For a name that is neither a family's nor a teacher's.
        PluginError: For a module that is not there.
    """
    if name.endswith(ONNX_SUFFIX):
        if not Path(name).is_file():
            raise PluginError(f"{where}: {name}: there is no such file")
        return
    if name in FAMILIES or name in TEACHERS or ":" in name:
        TEACHERS.require([name] if name not in FAMILIES else [], where=where)
        return
    known = [*FAMILIES.of_task(ARRAYS), *FAMILIES.own(), *TEACHERS]
    raise unknown_name(where, name, known, more="sizes such as mlp-256-128, or module:name of your own")


def network_named(name: str, input_shape: Shape, classes: int, *, digest: str = "") -> nn.Module:
    """The network that teaches a fleet, as it starts; torch's random numbers are the caller's.

    Args:
        name: A family's, or a teacher's.
        input_shape: Of one example.
        classes: How many there are.
        digest: Of the weights of a network that is made already, if they matter.

    Returns:
        The network; of one that is made already, a copy.

    Raises:
        UnknownName: For a name that is neither a family's nor a teacher's.
        PluginError: For what makes no network that answers as a teacher does, or has other weights.
    """
    import torch

    from fedstill_server.training.networks import state_of

    if name in FAMILIES:
        return build_own(name, FAMILIES.load(name), input_shape, classes)
    require_network(name)
    found = load_teacher(name, input_shape, classes)
    if not isinstance(found, torch.nn.Module):
        raise PluginError(
            f"teacher: {name}: a {type(found).__name__}, which cannot learn; let it teach as it is "
            "(--teacher-frozen), or give a torch module, or a function or class that makes one"
        )
    network = copy.deepcopy(found).float()
    network.register_forward_hook(take_logits)
    if digest and digest_of(state_of(network)) != digest:
        raise PluginError(f"teacher: {name}: its weights are not those that the run was started with")
    x = torch.zeros(2, *input_shape)
    with torch.no_grad():
        logits: Any = called(f"teacher: {name}, of examples {list(x.shape)}", lambda: network.eval()(x))
    shape = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
    if shape != (2, classes):
        raise PluginError(
            f"teacher: {name}: to examples {list(x.shape)} it answers {shape}; its logits should be "
            f"{(2, classes)}"
        )
    return network


def weights_digest(name: str) -> str:
    """The digest of a teacher's weights where it is a network that is made already, and "" otherwise."""
    if name in FAMILIES:
        return ""
    found = TEACHERS.load(name)
    if not is_made(found) or not hasattr(found, "state_dict"):
        return ""
    from fedstill_server.training.networks import state_of

    network: Any = copy.deepcopy(found)
    return digest_of(state_of(network.float()))


def teacher_stands_for(name: str) -> object:
    """What a name stands for in this process, where it may stand for something else later."""
    return None if name in FAMILIES or name.endswith(ONNX_SUFFIX) else TEACHERS.stands_for(name)


def black_box(name: str, input_shape: Shape, classes: int) -> OnnxTeacher | EstimatorTeacher | None:
    """A teacher that answers and cannot learn, an ONNX file or an estimator; None for a network.

    Raises:
        FedstillError: As `load_teacher`, and for a file or an estimator that cannot be a teacher.
    """
    if name.endswith(ONNX_SUFFIX):
        from fedstill_server.teachers.onnx_file import OnnxTeacher

        return OnnxTeacher.of_file(Path(name))
    if name in FAMILIES:
        return None
    import torch

    found: Any = load_teacher(name, input_shape, classes)
    if isinstance(found, torch.nn.Module):
        return None
    from fedstill_server.teachers.estimator import EstimatorTeacher

    return EstimatorTeacher(found, classes=classes, name=name)


def load_teacher(name: str, input_shape: Shape, classes: int, *, where: str = "teacher") -> object:
    """A torch module or an estimator, by the name of it or of what makes it.

    Raises:
        UnknownName: For a name that is not there.
        PluginError: For what cannot be imported, is no teacher, or fails where it is made.
    """
    found = TEACHERS.load(name, where=where)
    if is_made(found):
        return found
    try:
        build = family_of(found).build
    except PluginError as error:
        raise PluginError(f"{where}: {name}: {error}") from None
    return called(f"{where}: {name}", lambda: build(input_shape, classes))
