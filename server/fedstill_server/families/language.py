"""Students of text: networks that say which word comes next.

The table of words is read twice, as what goes in and as what logits are products with (Press and Wolf, 2016,
arXiv:1608.05859), so that a training step needs only the rows of the words that its batch speaks of. All is
written in plain products, slices and element-wise operators, of which every gradient can be lowered.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from fedstill_server.families.errors import FamilyError
from fedstill_server.families.sizes import text_sizes_of
from fedstill_server.families.state_space import BLOCKS, SelectiveStateSpace
from fedstill_server.families.transformer import CausalTransformer

WIDTH = 64


class GatedRecurrentNetwork(nn.Module):
    """A gated recurrent unit (Cho et al., 2014, arXiv:1406.1078) over tied embeddings, as in torch.

        r = sigmoid(x_r + h_r)   z = sigmoid(x_z + h_z)   n = tanh(x_n + r * h_n)   h <- n + z * (h - n)

    where x_* are a linear function of the word, h_* one of the state h. A state that is wider than the table
    is read through a linear layer: most parameters of a small student are the table's.
    """

    def __init__(self, vocabulary: int, *, width: int = WIDTH, state_width: int | None = None) -> None:
        super().__init__()
        self.width = state_width or width  # of the state
        self.embedding = nn.Embedding(vocabulary, width)
        nn.init.normal_(self.embedding.weight, std=width**-0.5)
        self.of_word = nn.Linear(width, 3 * self.width)
        self.of_state = nn.Linear(self.width, 3 * self.width)
        self.to_word = nn.Linear(self.width, width) if self.width != width else None

    def cell(self, word: Tensor, state: Tensor) -> Tensor:
        """The state [batch, width] after a word, given as its `of_word` [batch, 3 * width]."""
        word_reset, word_keep, word_new = word.chunk(3, -1)
        state_reset, state_keep, state_new = self.of_state(state).chunk(3, -1)
        reset = torch.sigmoid(word_reset + state_reset)
        keep = torch.sigmoid(word_keep + state_keep)
        new = torch.tanh(word_new + reset * state_new)
        return new + keep * (state - new)

    stream_places = 0  # a state takes in any number of words
    steps_rows = True  # `step` takes n rows side by side as well: words [n], states [n, width]

    def start_state(self) -> dict[str, Tensor]:
        return {"state": torch.zeros(1, self.width)}

    def step(self, word: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [1, vocabulary] and the state [1, width] after a word [1]."""
        after = self.cell(self.of_word(self.embedding(word)), state)
        return self.logits(after), after

    def logits(self, state: Tensor) -> Tensor:
        """[rows, width] -> [rows, vocabulary]."""
        return functional.linear(self.said(state), self.embedding.weight)

    def said(self, state: Tensor) -> Tensor:
        """What the table of words is read with: [rows, width of a word]."""
        return state if self.to_word is None else self.to_word(state)

    def forward(self, x: Tensor) -> Tensor:
        batch, places = x.shape
        words = self.of_word(self.embedding(x.t().reshape(-1)))  # [S * batch, 3 * width]
        state = torch.zeros(batch, self.width, dtype=words.dtype)
        states = []
        for word in words.reshape(places, batch, -1).unbind():
            state = self.cell(word, state)
            states.append(state)
        in_rows = torch.cat(states).reshape(places, batch, -1).transpose(0, 1)
        logits = self.logits(in_rows.reshape(batch * places, -1))  # [batch * S, vocabulary]
        return logits.reshape(batch, places, -1)


def gru(input_shape: tuple[int, ...], classes: int) -> nn.Module:
    _check_text("gru", input_shape)
    return GatedRecurrentNetwork(classes)


def transformer(input_shape: tuple[int, ...], classes: int) -> nn.Module:
    _check_text("transformer", input_shape)
    return CausalTransformer(classes, input_shape[0])


def _check_text(family: str, input_shape: tuple[int, ...]) -> None:
    if len(input_shape) != 1:
        raise FamilyError(f"{family}: input shape {list(input_shape)}; text is [places], the words of a row")


def build_sized_text(family: str, input_shape: tuple[int, ...], classes: int) -> nn.Module:
    """The student of a family whose name holds its sizes, such as gru-80-224; sizes.py says which."""
    sized = text_sizes_of(family)
    if sized is None:
        raise FamilyError(f"{family}: not a name such as gru-80-224, ssm-64-128 or transformer-64-4-2")
    _check_text(family, input_shape)
    kind, (width, second, *blocks) = sized
    if kind == "gru":
        return GatedRecurrentNetwork(classes, width=width, state_width=second)
    if kind == "ssm":
        return SelectiveStateSpace(classes, width=width, channels=second, blocks=(*blocks, BLOCKS)[0])
    if width % second:
        raise FamilyError(f"{family}: {second} heads do not share a width of {width} evenly")
    return CausalTransformer(classes, input_shape[0], width=width, heads=second, blocks=blocks[0])
