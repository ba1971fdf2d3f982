"""The assistant's teacher: the sentence model with a linear head over intents, trained on labelled texts.

The head alone is not enough where people do not speak English, so the model's last layers learn along, at a
tenth of the head's rate (layers that learn at rates of their own: Howard and Ruder, 2018, arXiv:1801.06146).
The rate rises over the first tenth of the steps and then falls to 0; labels are smoothed (Szegedy et al.,
2015, arXiv:1512.00567).

Both take minutes, so a folder keeps the trained weights (as safetensors, named by all that decides them) and
the logits of every text that was ever answered (named by the teacher and the text).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import safetensors.numpy
import torch
from fedstill_proto.arrays import FloatArray
from fedstill_proto.errors import InvalidValue
from torch import Tensor, nn

from fedstill_server.tasks.utterances.encoder import SentenceEncoder, SentenceModelFiles
from fedstill_server.training.networks import one_deterministic_thread

_ROWS_AT_ONCE = 64
_WARM_UP = 0.1  # of the steps
_ALIKE = 8  # batches are cut from so many times their size, by length
_SAME = 1  # raise it when the code makes another teacher of the same data

OnEpoch = Callable[[int, float], None]
"""(epochs done, mean loss)"""


@dataclass(frozen=True, kw_only=True)
class TeacherPlan:
    """How the teacher learns; with trained_layers 0 only the head does."""

    epochs: int = 5
    batch_size: int = 16
    learning_rate: float = 5e-4  # of the layers; the head's is ten times that
    trained_layers: int = 4
    label_smoothing: float = 0.05
    weight_decay: float = 0.01
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least, most in (("epochs", 1, 1000), ("batch_size", 1, 1024), ("trained_layers", 0, 6)):
            if not least <= getattr(self, name) <= most:
                raise InvalidValue(name, f"{getattr(self, name)}; give {least} to {most}")
        for name, limit in (("learning_rate", 1.0), ("label_smoothing", 0.9), ("weight_decay", 1.0)):
            if not 0 <= getattr(self, name) <= limit:
                raise InvalidValue(name, f"{getattr(self, name)}; give 0 to {limit:g}")


class IntentTeacher(nn.Module):
    """Utterances -> logits [n, classes]."""

    def __init__(self, encoder: SentenceEncoder, classes: int) -> None:
        super().__init__()
        self.encoder, self.head = encoder, nn.Linear(encoder.width, classes)

    def forward(self, texts: Sequence[str]) -> Tensor:
        logits: Tensor = self.head(self.encoder(texts))
        return logits


class TrainedTeacher:
    """A teacher that has learned; it is only opened where something is asked that it never answered."""

    def __init__(
        self,
        texts: Sequence[str],
        intents: Sequence[int],
        *,
        classes: int,
        plan: TeacherPlan,
        cache: Path,
        on_epoch: OnEpoch = lambda epoch, loss: None,
        files: SentenceModelFiles | None = None,
    ) -> None:
        if not texts or len(texts) != len(intents) or not 0 <= min(intents) <= max(intents) < classes:
            problem = f"{len(intents)} of {len(texts)} texts; give one from 0 to {classes - 1} for each"
            raise InvalidValue("intents", problem)
        self._files = files or SentenceModelFiles.installed()
        self._classes, self._plan = classes, plan
        learned = json.dumps([_SAME, asdict(plan), classes, list(texts), list(map(int, intents))])
        digest = hashlib.sha256((self._files.digest() + learned).encode()).hexdigest()[:24]
        self._weights, self._answers = (cache / f"teacher-{digest}.{end}" for end in ("safetensors", "npz"))
        self._opened: IntentTeacher | None = None
        self._known = _read_answers(self._answers, classes)
        if not self._weights.is_file():
            self._learn(texts, np.asarray(intents, np.int64), on_epoch)

    @property
    def parameter_count(self) -> int:
        """Parameters of the sentence model and the head together."""
        return sum(weight.numel() for weight in self._open().parameters())

    def answered(self, texts: Sequence[str]) -> bool:
        """Whether it was asked all of them before."""
        return all(_key(text) in self._known for text in texts)

    def logits(self, texts: Sequence[str]) -> FloatArray:
        """[texts, classes]; what is new is kept."""
        keys = [_key(text) for text in texts]
        new = {key: text for key, text in zip(keys, texts, strict=True) if key not in self._known}
        # Of about equal length, so that few places of a batch are empty.
        ordered = sorted(new.items(), key=lambda item: (len(item[1]), item[0]))
        with one_deterministic_thread(), torch.inference_mode():
            for at in range(0, len(ordered), _ROWS_AT_ONCE):
                batch = dict(ordered[at : at + _ROWS_AT_ONCE])
                rows = self._open()(list(batch.values())).numpy()
                self._known |= dict(zip(batch, rows, strict=True))
        if new:
            _write_answers(self._answers, self._known)
        return np.stack([self._known[key] for key in keys])

    def _open(self) -> IntentTeacher:
        if self._opened is None:
            teacher = _fresh(self._files, self._classes, self._plan)
            stored = safetensors.numpy.load_file(self._weights)
            learning = {name: weight for name, weight in teacher.named_parameters() if weight.requires_grad}
            with torch.no_grad():
                for name, weight in learning.items():
                    weight.copy_(torch.from_numpy(stored[name]))
            self._opened = teacher.eval()
        return self._opened

    def _learn(self, texts: Sequence[str], intents: np.ndarray, on_epoch: OnEpoch) -> None:
        with one_deterministic_thread():
            teacher = _fresh(self._files, self._classes, self._plan)
            _fit(teacher, list(texts), torch.from_numpy(intents), self._plan, on_epoch)
        learned = {
            name: weight.detach().numpy()
            for name, weight in teacher.named_parameters()
            if weight.requires_grad
        }
        self._weights.parent.mkdir(parents=True, exist_ok=True)
        partial = self._weights.with_suffix(".partial")
        safetensors.numpy.save_file(learned, partial)
        partial.replace(self._weights)
        self._opened = teacher.eval()


def _key(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _fresh(files: SentenceModelFiles, classes: int, plan: TeacherPlan) -> IntentTeacher:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(plan.seed)
        teacher = IntentTeacher(SentenceEncoder(files), classes)
    teacher.encoder.let_learn(plan.trained_layers)
    return teacher


def _fit(
    teacher: IntentTeacher, texts: list[str], intents: Tensor, plan: TeacherPlan, on_epoch: OnEpoch
) -> None:
    random = torch.Generator().manual_seed(plan.seed)
    layers = [weight for weight in teacher.encoder.parameters() if weight.requires_grad]
    groups = [{"params": teacher.head.parameters(), "lr": 10 * plan.learning_rate}]
    groups += [{"params": layers, "lr": plan.learning_rate}] if layers else []
    optimizer = torch.optim.AdamW(groups, weight_decay=plan.weight_decay)
    steps = plan.epochs * -(-len(texts) // plan.batch_size)
    rising = max(1.0, _WARM_UP * steps)
    course = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / rising, (steps - step) / steps)
    )
    loss_of = nn.CrossEntropyLoss(label_smoothing=plan.label_smoothing)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(plan.seed)  # of the model's dropout
        teacher.train()
        for epoch in range(plan.epochs):
            total = 0.0
            for rows in _batches(texts, plan.batch_size, random):
                loss = loss_of(teacher([texts[row] for row in rows]), intents[rows])
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                course.step()
                total += float(loss.detach()) * len(rows)
            on_epoch(epoch + 1, total / len(texts))


def _batches(texts: list[str], size: int, random: torch.Generator) -> list[list[int]]:
    """Rows of an epoch, shuffled; those of a batch are about equally long, so that few places are empty."""
    order: list[int] = torch.randperm(len(texts), generator=random).tolist()
    batches = []
    for start in range(0, len(order), size * _ALIKE):
        some = sorted(order[start : start + size * _ALIKE], key=lambda row: (len(texts[row]), row))
        batches += [some[at : at + size] for at in range(0, len(some), size)]
    return [batches[at] for at in torch.randperm(len(batches), generator=random).tolist()]


def _read_answers(file: Path, classes: int) -> dict[str, FloatArray]:
    try:
        with np.load(file, allow_pickle=False) as stored:
            keys, rows = stored["keys"], stored["rows"]
    except (OSError, ValueError, KeyError, EOFError):
        return {}  # not there, or not whole: all is answered again
    whole = rows.shape == (len(keys), classes) and rows.dtype == np.float32
    return dict(zip(keys.tolist(), rows, strict=True)) if whole else {}


def _write_answers(file: Path, known: Mapping[str, FloatArray]) -> None:
    partial = file.with_suffix(".partial.npz")
    np.savez(partial, keys=np.array(list(known)), rows=np.stack(list(known.values())))
    partial.replace(file)
