"""What a student of classes says where its input changes, and a tree that imitates it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fedstill_server.distill.tasks import DistillTask
from fedstill_server.inspection.corruption import Answer, CorruptedAccuracy, corrupted_accuracies
from fedstill_server.inspection.judging.of_classes import ClassJudge
from fedstill_server.inspection.judging.quality import spread
from fedstill_server.inspection.names import (
    dropped_accuracies,
    outlier_auroc_of_names,
    surrogate_of_names,
)
from fedstill_server.inspection.outliers import outlier_auroc
from fedstill_server.inspection.surrogate import Surrogate, surrogate

_MOST_PUBLIC = 4000  # examples that a tree is fitted to


@dataclass(frozen=True, kw_only=True)
class Explained:
    """Accuracies on changed inputs, the AUROC by kind of outlier, and a tree."""

    corrupted: tuple[CorruptedAccuracy, ...] = ()
    outliers: tuple[tuple[str, float], ...] = ()
    surrogate: Surrogate | None = None


def explained(answer: Answer, task: DistillTask, judge: ClassJudge) -> Explained:
    """Try a student of classes with changed inputs, and imitate it."""
    x, labels, nothing = judge.x, judge.labels, judge.nothing
    public = task.public.x[spread(len(task.public), _MOST_PUBLIC)]
    learned, held = answer(public).argmax(-1), answer(x).argmax(-1)
    if nothing is None:
        return Explained(
            corrupted=tuple(corrupted_accuracies(answer, x, labels)),
            outliers=tuple(outlier_auroc(answer, x).items()),
            surrogate=surrogate(public, learned, x, held),
        )
    return Explained(
        corrupted=tuple(dropped_accuracies(answer, x, labels, nothing=nothing)),
        outliers=tuple(outlier_auroc_of_names(answer, x, public, nothing=nothing).items()),
        surrogate=surrogate_of_names(public, learned, x, held, nothing=nothing, called=_called(task)),
    )


def _called(task: DistillTask) -> Callable[[int], str]:
    """What a name is called: a sub-word by its tokenizer, an n-gram by its number."""
    content = task.files.tokenizer
    if content is None:
        return lambda number: f"n-gram {number}"
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(content.decode())
    return lambda number: tokenizer.id_to_token(number) or f"sub-word {number}"
