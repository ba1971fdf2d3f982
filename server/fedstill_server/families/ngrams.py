"""Students of utterances: a bag of hashed n-grams and a small network.

    e = sum of w E[number] over an utterance's numbers / |w|,  w = exp(W[number])
    logits = O(relu(H(e))) + D(e)

(fastText: Joulin et al., 2016, arXiv:1607.01759, with a hidden layer beside the linear one, and a weight of
each n-gram that is learned; what is rare weighs more at first, see `weigh_terms`.) The numbers are those of
`fedstill_proto.text.ngrams`. An utterance is an example like any other, a row of float32 with one label:
whole numbers below 2^24 are exact in float32, and so all that is done with arrays can be done with
utterances. But a number is a name: numbers that are noisy or between two others mean nothing.
"""

from __future__ import annotations

import numpy as np
import torch
from fedstill_proto.arrays import FloatArray
from fedstill_proto.text.ngrams import NgramHashing
from torch import Tensor, nn

from fedstill_server.families.errors import FamilyError

_LIGHTEST = 1e-6  # the squares of an utterance's weights
_FIRST_WEIGHTS = 0.03  # standard deviation: what an n-gram that was never learned still adds


class BagOfNgrams(nn.Module):
    """x: [batch, places] numbers 0 to buckets - 1, where 0 is nothing -> logits [batch, classes]."""

    def __init__(self, buckets: int, classes: int, *, width: int, hidden: int) -> None:
        super().__init__()
        self.last = float(buckets - 1)
        self.embedding = nn.Embedding(buckets, width)
        nn.init.normal_(self.embedding.weight, std=_FIRST_WEIGHTS)
        self.weight = nn.Embedding(buckets, 1)
        nn.init.zeros_(self.weight.weight)
        self.hidden = nn.Linear(width, hidden)
        self.output = nn.Linear(hidden, classes)
        self.direct = nn.Linear(width, classes, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        # What comes from outside may be any number; 0 to `last` are rows of the table.
        number = torch.relu(x)
        number = self.last - torch.relu(self.last - number)
        heard = 1.0 - torch.relu(1.0 - number)  # 1, and 0 of nothing: [batch, places]
        batch, places = x.shape
        known = number.to(torch.int64).reshape(-1)
        rows = self.embedding(known).reshape(batch, places, -1)
        weight = torch.exp(self.weight(known).reshape(batch, places)) * heard
        total = (rows * weight.unsqueeze(-1)).sum(1)
        mean = total / (weight * weight).sum(1, keepdim=True).clamp_min(_LIGHTEST).sqrt()
        return self.output(torch.relu(self.hidden(mean))) + self.direct(mean)  # type: ignore[no-any-return]


def weigh_terms(network: nn.Module, x: FloatArray) -> nn.Module:
    """Begin with weights by how rare an n-gram is among utterances x [n, places]; returns the network.

    w = 1 + log((1 + n) / (1 + how many have it)) / 2, half of the inverse document frequency (Spaerck Jones,
    1972, doi:10.1108/eb026526). Other networks are left as they are.
    """
    if isinstance(network, BagOfNgrams):
        buckets = network.weight.num_embeddings
        counts = np.bincount(x[x > 0].astype(np.int64), minlength=buckets)[:buckets]
        rarity = 1 + np.log((1 + len(x)) / (1 + np.minimum(counts, len(x)))) / 2
        with torch.no_grad():
            network.weight.weight.copy_(torch.from_numpy(np.log(rarity)).float().unsqueeze(-1))
    return network


def ngrams(input_shape: tuple[int, ...], classes: int) -> nn.Module:
    return _bag("ngrams", input_shape, classes, width=48, hidden=128)


def ngrams_small(input_shape: tuple[int, ...], classes: int) -> nn.Module:
    return _bag("ngrams-small", input_shape, classes, width=8, hidden=32)


def wide_bag(classes: int, *, hidden: int) -> nn.Module:
    """A teacher of the same kind: twice as wide a table, and a hidden layer of any width."""
    return BagOfNgrams(NgramHashing().buckets, classes, width=64, hidden=hidden)


def _bag(family: str, input_shape: tuple[int, ...], classes: int, *, width: int, hidden: int) -> nn.Module:
    if len(input_shape) != 1:
        raise FamilyError(f"{family}: input shape {list(input_shape)}; an utterance is [places], its numbers")
    return BagOfNgrams(NgramHashing().buckets, classes, width=width, hidden=hidden)
