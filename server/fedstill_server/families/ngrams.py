"""Students of utterances: a bag of hashed n-grams and a small network.

    e = sum of E[number] over an utterance's numbers / sqrt(how many)       logits = O(relu(H(e)))

(fastText: Joulin et al., 2016, arXiv:1607.01759, with a hidden layer.) The numbers are those of
`fedstill_proto.text.ngrams`. An utterance is an example like any other, a row of float32 with one label:
whole numbers below 2^24 are exact in float32, and so all that is done with arrays can be done with
utterances. But a number is a name: numbers that are noisy or between two others mean nothing.
"""

from __future__ import annotations

import torch
from fedstill_proto.text.ngrams import NgramHashing
from torch import Tensor, nn

from fedstill_server.families.errors import FamilyError

_FIRST_WEIGHTS = 0.03  # standard deviation: what an n-gram that was never learned still adds


class BagOfNgrams(nn.Module):
    """x: [batch, places] numbers 0 to buckets - 1, where 0 is nothing -> logits [batch, classes]."""

    def __init__(self, buckets: int, classes: int, *, width: int, hidden: int) -> None:
        super().__init__()
        self.last = float(buckets - 1)
        self.embedding = nn.Embedding(buckets, width)
        nn.init.normal_(self.embedding.weight, std=_FIRST_WEIGHTS)
        self.hidden = nn.Linear(width, hidden)
        self.output = nn.Linear(hidden, classes)

    def forward(self, x: Tensor) -> Tensor:
        # What comes from outside may be any number; 0 to `last` are rows of the table.
        number = torch.relu(x)
        number = self.last - torch.relu(self.last - number)
        heard = 1.0 - torch.relu(1.0 - number)  # 1, and 0 of nothing: [batch, places]
        batch, places = x.shape
        rows = self.embedding(number.to(torch.int64).reshape(-1)).reshape(batch, places, -1)
        total = (rows * heard.unsqueeze(-1)).sum(1)
        mean = total / heard.sum(1, keepdim=True).clamp_min(1.0).sqrt()
        return self.output(torch.relu(self.hidden(mean)))  # type: ignore[no-any-return]


def ngrams(input_shape: tuple[int, ...], classes: int) -> nn.Module:
    return _bag("ngrams", input_shape, classes, width=32, hidden=128)


def ngrams_small(input_shape: tuple[int, ...], classes: int) -> nn.Module:
    return _bag("ngrams-small", input_shape, classes, width=8, hidden=32)


def wide_bag(classes: int, *, hidden: int) -> nn.Module:
    """A teacher of the same kind: twice as wide a table, and a hidden layer of any width."""
    return BagOfNgrams(NgramHashing().buckets, classes, width=64, hidden=hidden)


def _bag(family: str, input_shape: tuple[int, ...], classes: int, *, width: int, hidden: int) -> nn.Module:
    if len(input_shape) != 1:
        raise FamilyError(f"{family}: input shape {list(input_shape)}; an utterance is [places], its numbers")
    return BagOfNgrams(NgramHashing().buckets, classes, width=width, hidden=hidden)
