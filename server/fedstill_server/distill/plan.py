"""How a student is trained: frozen, validated values."""

from __future__ import annotations

from dataclasses import dataclass

from fedstill_server.config.options import check_options, option
from fedstill_server.distill.errors import DistillError


def check(holds: bool, name: str, value: object, needed: str) -> None:
    """Raises DistillError, naming the field, where its value cannot be."""
    if not holds:
        raise DistillError(f"{name}: {value!r} is not {needed}")


@dataclass(frozen=True, kw_only=True)
class DistillPlan:
    """How a student is trained: AdamW over shuffled batches, its rate falling to 0 along half a cosine.

    The loss of a batch is (1 - soft_weight) times the labels' cross-entropy over its labelled examples, plus
    soft_weight times the sum of the techniques' terms. `online` asks the teacher about each batch as the
    student sees it (with its noise), instead of once about each example before the first step.
    """

    epochs: int = option(60, "Passes over the examples.", least=1)
    batch_size: int = option(64, "Examples of a step.", least=1)
    learning_rate: float = option(1e-2, "The rate of the first step.", above=0)
    weight_decay: float = option(0.01, "AdamW's.", least=0)
    temperature: float = option(4.0, "How far soft labels are softened.", above=0)
    soft_weight: float = option(
        0.9, "Share of the techniques in the loss; labels have the rest.", least=0, most=1
    )
    input_noise: float = option(0.0, "Standard deviation, in units of the input.", least=0)
    online: bool = option(False, "Whether the teacher is asked about each batch, instead of once.")
    by_length: bool = option(
        False, "Of sub-words: whether texts of like length share a batch, cut to the longest; it saves time."
    )
    checkpoint_epochs: int = option(10, "Passes between checkpoints.", least=1)
    seed: int = option(0, "Decides every random choice.", least=0, most=(1 << 63) - 1)

    def __post_init__(self) -> None:
        check_options(self)
