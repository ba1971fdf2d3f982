"""Networks of text as values: fitted to next words and soft labels of them, a part of the rows at a time.

The logits of a few hundred rows over ten thousand words are hundreds of megabytes: nothing here holds those
of all rows.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from fedstill_proto.arrays import FloatArray, IntArray
from fedstill_proto.soft_labels.drawn.tails import with_drawn_tails
from fedstill_proto.soft_labels.label_arrays import TopKSoftLabels, keep_top_k, unchecked_dense
from torch import Tensor, nn

from fedstill_server.losses import cross_entropy, top_k_bucket_loss
from fedstill_server.training.fitting import FitPlan
from fedstill_server.training.networks import seeded

_VALUES_AT_ONCE = 1 << 22  # logits: 16 MB
# Of a gradient: recurrent networks have steep places (Pascanu et al. 2013, arXiv 1211.5063).
_LONGEST_STEP = 1.0


def logits_in_parts(network: nn.Module, x: IntArray) -> Iterator[tuple[slice, FloatArray]]:
    """Logits [n, S, V] of some rows after the others, in eval mode, without gradients."""
    was_training = network.training
    network.eval()
    rows = 1
    start = 0
    while start < len(x):
        part = slice(start, min(start + rows, len(x)))
        with torch.no_grad():
            logits: FloatArray = network(torch.from_numpy(x[part])).numpy()
        yield part, logits
        start = part.stop
        rows = max(1, _VALUES_AT_ONCE // logits[0].size)  # known after the first
    network.train(was_training)


def likeliest_next_words(
    network: nn.Module, x: IntArray, *, k: int, temperature: float, drawn: int = 0
) -> TopKSoftLabels:
    """The k likeliest words after each place of x [n, S], of softmax(logits / temperature): n * S rows.

    With `drawn`, so many draws of all other words are named besides, and a row adds up to 1.
    """
    indices, chances, words = [], [], 0
    for _, logits in logits_in_parts(network, x):
        words = logits.shape[-1]
        softened = torch.softmax(torch.from_numpy(logits.reshape(-1, words)) / temperature, dim=-1).numpy()
        whole = unchecked_dense(softened)
        kept = with_drawn_tails(whole, k=k, drawn=drawn).named() if drawn else keep_top_k(whole, k)
        indices.append(kept.indices)
        chances.append(kept.probabilities)
    return TopKSoftLabels(np.concatenate(indices), np.concatenate(chances), words)


def next_word_accuracy(network: nn.Module, x: IntArray, y: IntArray) -> float:
    """The share of places of x [n, S] whose next word y [n, S] is the likeliest."""
    right = sum(
        int((logits.argmax(axis=-1) == y[part]).sum()) for part, logits in logits_in_parts(network, x)
    )
    return right / max(y.size, 1)


def fit_next_words(
    network: nn.Module,
    x: IntArray,
    y: IntArray,
    *,
    plan: FitPlan,
    seed: int,
    soft_labels: TopKSoftLabels | None = None,
) -> nn.Module:
    """Train `network` in place on the next words y [n, S] of x [n, S], and on soft labels of all places.

    It is returned, too. The words' own part of the loss is `plan.hard_weight`, where there are soft labels.
    """
    inputs, labels = torch.from_numpy(x), torch.from_numpy(y)
    indices = named = None
    if soft_labels is not None:
        indices = torch.from_numpy(soft_labels.indices).reshape(*x.shape, -1)
        named = torch.from_numpy(soft_labels.probabilities).reshape(*x.shape, -1)
    random = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=plan.learning_rate, weight_decay=plan.weight_decay, fused=True
    )
    steps = plan.epochs * -(-len(x) // plan.batch_size)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=max(steps, 1))
    network.train()
    with seeded(seed):
        for rows in _batches(len(x), plan, random):
            logits = network(inputs[rows])
            if indices is None or named is None:
                loss = cross_entropy(logits, labels[rows])
            else:
                loss = _mixed(logits, labels[rows], indices[rows], named[rows], plan)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(network.parameters(), _LONGEST_STEP)
            optimizer.step()
            falling.step()
    return network


def _batches(rows: int, plan: FitPlan, random: torch.Generator) -> Iterator[Tensor]:
    """The rows of each batch, in a new order in each epoch."""
    for _ in range(plan.epochs):
        yield from torch.randperm(rows, generator=random).split(plan.batch_size)  # type: ignore[no-untyped-call]


def _mixed(logits: Tensor, labels: Tensor, indices: Tensor, named: Tensor, plan: FitPlan) -> Tensor:
    soft = top_k_bucket_loss(logits, indices, named, temperature=plan.temperature)
    if plan.hard_weight == 0:
        return soft
    return plan.hard_weight * cross_entropy(logits, labels) + (1 - plan.hard_weight) * soft
