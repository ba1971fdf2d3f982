"""The networks of a fleet: what devices learn, what the server learns, and students that answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from fedstill_server.families.train_rule import ALL, SEPARATOR, TrainRule

if TYPE_CHECKING:
    from fedstill_client.model.predictor import Predictor
    from fedstill_proto.package.artifact import StudentPackage
    from torch import nn

    Network = str | type[nn.Module] | Callable[..., nn.Module]


@dataclass(frozen=True)
class Student:
    """A student family: one architecture, which some of the devices have.

    Args:
        network: The name of a family ("mlp-small", "mlp-64-32", "cnn-4-8"), `module:Net`, or a class or
            function of torch modules. It is called with those of `input_shape` and `classes` that it takes
            by name. Or a torch module that is made already, with weights that it has learned elsewhere:
            every student begins as a copy of it, and is never that module itself.
        name: What reports and files call it; by default a family's own name, or that of the class.
        devices: The names of the devices that have it; by default, the students of a fleet are dealt out to
            its devices in turn.
        train: What of it trains. "all" is whatever it does not hold frozen itself; "head" its last linear
            layer; "lora:8" low-rank adapters of rank 8 and the head; or names of parameters, in which `*`
            stands for anything. The rest is one constant that all devices of the family share.

    Example:
        >>> Student("mlp-64-32", devices=("ann", "bob")).name
        'mlp-64-32'
        >>> Student("mlp-64-32", train="head").name
        'mlp-64-32-head'
    """

    network: Network | nn.Module
    name: str = ""
    devices: tuple[str, ...] = ()
    train: str | Sequence[str] = ALL

    def __post_init__(self) -> None:
        train = self.train if isinstance(self.train, str) else SEPARATOR.join(self.train)
        rule = TrainRule.of(train, where="Student: train")
        if not self.name:
            # A built-in family has its name already, and what trains makes another one of it.
            part = f"-{rule.kind}" if isinstance(self.network, str) and ":" not in self.network else ""
            part = "" if rule.kind == ALL else part
            object.__setattr__(self, "name", _name_of(self.network) + part)
        object.__setattr__(self, "devices", tuple(self.devices))
        object.__setattr__(self, "train", train)


@dataclass(frozen=True)
class Teacher:
    """The network on the server that learns from the fleet, and from which students start.

    Args:
        network: A torch module, whose weights are the start and which is never changed itself, Hugging Face's
            among them; a class or function that makes one, called as that of a `Student`; the name of a
            family ("mlp-256-128"), or `module:name`; a fitted estimator with `predict_proba`, or the path of
            an .onnx file, which are always frozen.
        name: What reports call it; by default the name of its class.
        trained: Whether it knows its task already. It then learns no labels of the public set before the
            first round.
        frozen: Whether it teaches as it is and never learns.

    Example:
        >>> Teacher("mlp-256-128").name
        'mlp-256-128'
    """

    network: Network | nn.Module
    name: str = ""
    trained: bool = False
    frozen: bool = False

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", _name_of(self.network))


class PackagedStudent:
    """A student as devices install it: answers come from ONNX Runtime, and torch is not needed.

    Attributes:
        package: The package: graph, weights and manifest.
    """

    def __init__(self, package: StudentPackage) -> None:
        self.package = package
        self._predictor: Predictor | None = None

    @classmethod
    def load(cls, folder: Path | str) -> PackagedStudent:
        """Load the package in a folder; its digests are verified first.

        Raises:
            FedstillError: The folder holds no package, or not the one that was written.
        """
        from fedstill_proto.package.artifact import load_student

        return cls(load_student(Path(folder)))

    @property
    def family(self) -> str:
        """The name of its family."""
        return self.package.manifest.family

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes, or ()."""
        return self.package.manifest.class_names

    def predict(self, x: Any) -> npt.NDArray[np.float32]:
        """Return class probabilities [n, classes] of examples as they are given [n, *shape], or of texts.

        The package's rule, or its tokenizer, makes of them what the network reads.

        Raises:
            FedstillError: The examples are not of the student's shape.
        """
        return self._answering().predict(self._read(x))

    def logits(self, x: Any) -> npt.NDArray[np.float32]:
        """Return logits [n, classes], or vectors, of examples as they are given [n, *shape], or of texts."""
        return self._answering().logits(self._read(x))

    def _read(self, x: Any) -> npt.NDArray[Any]:
        subwords, tokenizer = self.package.manifest.subwords, self.package.tokenizer
        if subwords is None or tokenizer is None or not isinstance(x, list) or not isinstance(x[0], str):
            return np.asarray(x)
        from fedstill_proto.subwords.reader import SubwordReader

        return SubwordReader(tokenizer, places=subwords.places, pad=subwords.pad).rows(x)

    def save(self, folder: Path | str) -> Path:
        """Write the package into a folder, which `fedstill-agent` and `fedstill-server publish` take.

        Returns:
            The folder.
        """
        from fedstill_proto.package.artifact import save_package

        save_package(Path(folder), self.package)
        return Path(folder)

    def __repr__(self) -> str:
        manifest = self.package.manifest
        return f"<PackagedStudent {manifest.family}: {manifest.parameter_count:,} parameters>"

    def _answering(self) -> Predictor:
        if self._predictor is None:
            from fedstill_client.model.predictor import Predictor

            self._predictor = Predictor(self.package)
        return self._predictor


def _name_of(network: Any) -> str:
    """A family's own name, or that of a class, a function or an object's class."""
    if isinstance(network, str):
        from fedstill_server.families.places import places_of

        if (known := places_of(network)) is not None:
            return known.name_of(network, where="Student")
        return network.rpartition(":")[2]
    return str(getattr(network, "__name__", type(network).__name__))
