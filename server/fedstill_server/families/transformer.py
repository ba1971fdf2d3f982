"""A small transformer that says which word comes next (Vaswani et al., 2017, arXiv:1706.03762).

    x <- E[word] + P[place]
    x <- x + O(attention(Q(n(x)), K(n(x)), V(n(x))))        attention = softmax(q k^T / sqrt(d) + mask) v
    x <- x + B(g(A(n(x))))                                  g(a) = a * sigmoid(1.702 a)
    logits = n(x) E^T

What goes into a part is normalized, not what comes out (Xiong et al., 2020, arXiv:2002.04745), by its root
mean square (Zhang and Sennrich, 2019, arXiv:1910.07467); g is the smooth rectifier of Hendrycks and Gimpel
(2016, arXiv:1606.08415) in its cheap form. A place sees itself and those before it. As in language.py the
table E is tied, and all that learns is read as it stands: linear layers see rows of two dimensions.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTH, HEADS, BLOCKS = 64, 4, 2
_HIDDEN = -1e9  # added to the score of what a place may not see: the places behind it


class RootMeanSquareNormalization(nn.Module):
    """x / sqrt(mean(x^2) + epsilon) * weight, over the last dimension."""

    def __init__(self, width: int, *, epsilon: float = 1e-5) -> None:
        super().__init__()
        self.epsilon = epsilon
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        square = (x * x).mean(-1, keepdim=True)
        return x / (square + self.epsilon).sqrt() * self.weight


class AttentionWeights(nn.Module):
    """How much each place takes of each: a part without weights of its own, whose answers can be watched."""

    def forward(self, scores: Tensor) -> Tensor:
        """[rows, S, S] -> the same shape."""
        return torch.softmax(scores, -1)


class CausalAttention(nn.Module):
    """What each place takes from those before it and from itself."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width, bias=False)  # softmax would not see one: it shifts a row's scores
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)
        self.weights = AttentionWeights()

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x: [batch * S, width], mask: [S, S]."""
        places, (rows, width) = len(mask), x.shape
        query, key, value = (self._by_head(part(x), places) for part in (self.query, self.key, self.value))
        scores = torch.bmm(query, key.transpose(1, 2)) * (width // self.heads) ** -0.5
        mixed = torch.bmm(self.weights(scores + mask), value)  # [batch * heads, S, width / heads]
        mixed = mixed.reshape(-1, self.heads, places, width // self.heads).transpose(1, 2)
        return self.output(mixed.reshape(rows, width))  # type: ignore[no-any-return]

    def step(
        self, x: Tensor, keys: Tensor, values: Tensor, here: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The attention of one place x [1, width], with keys and values [S, width] of the places before it.

        `here` [S, 1] marks the place.
        """
        keys, values = torch.where(here, self.key(x), keys), torch.where(here, self.value(x), values)
        places, width = keys.shape
        each = width // self.heads
        by_head = keys.reshape(places, self.heads, each).permute(1, 2, 0)  # [heads, width / heads, S]
        scores = torch.bmm(self.query(x).reshape(self.heads, 1, each), by_head) * each**-0.5
        of_values = values.reshape(places, self.heads, each).transpose(0, 1)
        mixed = torch.bmm(torch.softmax(scores + mask, -1), of_values)  # [heads, 1, width / heads]
        return self.output(mixed.reshape(1, width)), keys, values

    def block(
        self, x: Tensor, keys: Tensor, values: Tensor, placed: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The attention of several places x [T, width], as of one in `step`.

        `placed` [T, S] marks the place of each, `mask` [T, S] hides what it may not see.
        """
        taken = placed.sum(0).unsqueeze(1) > 0
        keys = torch.where(taken, placed.t() @ self.key(x), keys)
        values = torch.where(taken, placed.t() @ self.value(x), values)
        places, width = keys.shape
        each = width // self.heads
        query = self.query(x).reshape(-1, self.heads, each).transpose(0, 1)  # [heads, T, width / heads]
        scores = torch.bmm(query, keys.reshape(places, self.heads, each).permute(1, 2, 0)) * each**-0.5
        of_values = values.reshape(places, self.heads, each).transpose(0, 1)
        mixed = torch.bmm(torch.softmax(scores + mask, -1), of_values)
        return self.output(mixed.transpose(0, 1).reshape(-1, width)), keys, values

    def _by_head(self, x: Tensor, places: int) -> Tensor:
        """[batch * S, width] -> [batch * heads, S, width / heads]."""
        width = x.shape[-1] // self.heads
        return x.reshape(-1, places, self.heads, width).transpose(1, 2).reshape(-1, places, width)


class TransformerBlock(nn.Module):
    """Attention, then a layer of twice the width."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = RootMeanSquareNormalization(width)
        self.attention = CausalAttention(width, heads)
        self.norm2 = RootMeanSquareNormalization(width)
        self.hidden = nn.Linear(width, 2 * width)
        self.output = nn.Linear(2 * width, width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return self._after_attention(x + self.attention(self.norm1(x), mask))

    def step(
        self, x: Tensor, keys: Tensor, values: Tensor, here: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        taken, keys, values = self.attention.step(self.norm1(x), keys, values, here, mask)
        return self._after_attention(x + taken), keys, values

    def block(
        self, x: Tensor, keys: Tensor, values: Tensor, placed: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        taken, keys, values = self.attention.block(self.norm1(x), keys, values, placed, mask)
        return self._after_attention(x + taken), keys, values

    def _after_attention(self, x: Tensor) -> Tensor:
        hidden = self.hidden(self.norm2(x))
        return x + self.output(hidden * torch.sigmoid(1.702 * hidden))  # type: ignore[no-any-return]


class CausalTransformer(nn.Module):
    """Blocks of attention over tied embeddings, for rows of up to `places` words."""

    def __init__(
        self, vocabulary: int, places: int, *, width: int = WIDTH, heads: int = HEADS, blocks: int = BLOCKS
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.place = nn.Parameter(torch.empty(places, width))
        self.blocks = nn.ModuleList(TransformerBlock(width, heads) for _ in range(blocks))
        self.norm = RootMeanSquareNormalization(width)
        nn.init.normal_(self.embedding.weight, std=width**-0.5)
        nn.init.normal_(self.place, std=0.5 * width**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        batch, places = x.shape
        words = self.embedding(x) + self.place
        numbers = torch.arange(places)
        mask = (numbers.unsqueeze(1) < numbers).to(words.dtype) * _HIDDEN  # [S, S]
        rows = words.reshape(batch * places, -1)
        for block in self.blocks:
            rows = block(rows, mask)
        logits = functional.linear(self.norm(rows), self.embedding.weight)  # [batch * S, vocabulary]
        return logits.reshape(batch, places, -1)

    @property
    def stream_places(self) -> int:
        return len(self.place)

    def start_state(self) -> dict[str, Tensor]:
        """Keys and values of all blocks, block by block, and the place of the next word."""
        seen = torch.zeros(len(self.blocks) * len(self.place), self.place.shape[1])
        return {"keys": seen, "values": seen.clone(), "next_place": torch.zeros(1, dtype=torch.int64)}

    def step(self, word: Tensor, keys: Tensor, values: Tensor, place: Tensor) -> tuple[Tensor, ...]:
        """Logits [1, vocabulary] and the state after a word [1]."""
        numbers = torch.arange(len(self.place))
        here = (numbers == place).unsqueeze(1)
        mask = (numbers > place).to(keys.dtype) * _HIDDEN  # [S]
        row = self.embedding(word) + functional.embedding(place, self.place)
        new_keys, new_values = [], []
        blocks = zip(self.blocks, keys.chunk(len(self.blocks)), values.chunk(len(self.blocks)), strict=True)
        for block, of_block, valued in blocks:
            row, of_block, valued = block.step(row, of_block, valued, here, mask)  # type: ignore[operator]
            new_keys.append(of_block)
            new_values.append(valued)
        logits = functional.linear(self.norm(row), self.embedding.weight)
        return logits, torch.cat(new_keys), torch.cat(new_values), place + 1

    def block(self, words: Tensor, keys: Tensor, values: Tensor, place: Tensor) -> tuple[Tensor, ...]:
        """Logits [T, vocabulary] and the state after words [T], which fit into the places left."""
        numbers = torch.arange(len(self.place))
        at = place + torch.arange(words.shape[0])
        placed = (numbers == at.unsqueeze(1)).to(keys.dtype)  # [T, S]
        mask = (numbers > at.unsqueeze(1)).to(keys.dtype) * _HIDDEN
        rows = self.embedding(words) + placed @ self.place
        new_keys, new_values = [], []
        blocks = zip(self.blocks, keys.chunk(len(self.blocks)), values.chunk(len(self.blocks)), strict=True)
        for block, of_block, valued in blocks:
            rows, of_block, valued = block.block(rows, of_block, valued, placed, mask)  # type: ignore[operator]
            new_keys.append(of_block)
            new_values.append(valued)
        logits = functional.linear(self.norm(rows), self.embedding.weight)
        return logits, torch.cat(new_keys), torch.cat(new_values), place + words.shape[0]
