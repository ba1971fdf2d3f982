"""A model of Hugging Face as a network of rows of sub-words: x float32 [n, S] -> what it says of each.

The mask of what is padding is made of the row itself, so that a row answers by itself alone: graphs, private
stores and packages hold x and nothing beside it. A row that is all padding is read as if its first place held
something.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from fedstill_proto.package.subwords import CLASSES, EMBEDDING, NEXT_TOKEN
from torch import Tensor, nn

from fedstill_server.hugging_face.key_value_blocks import block
from fedstill_server.hugging_face.key_values import can_step, start_state, step

MEAN, FIRST_PLACE = "mean", "first"


class SubwordNetwork(nn.Module):
    """The base of the three kinds."""

    answer: str

    def __init__(self, model: nn.Module, *, pad: int) -> None:
        super().__init__()
        self.model = model
        self.pad = pad

    def read(self, x: Tensor) -> tuple[Any, Tensor]:
        """What the model returns for rows [n, S], and which places it heeds [n, S], bool."""
        numbers = x.long()
        places = torch.arange(x.shape[1], device=x.device)
        heard = (numbers != self.pad) | (places == 0)
        return self.model(input_ids=numbers, attention_mask=heard.long()), heard


class SubwordClassifier(SubwordNetwork):
    """A model with a head of its own: logits [n, classes]."""

    answer = CLASSES

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.read(x)[0].logits
        return logits


class SentenceNetwork(SubwordNetwork):
    """One vector of a text, the mean over its sub-words or that of the first: [n, width]."""

    answer = EMBEDDING

    def __init__(self, model: nn.Module, *, pad: int, pooling: str = MEAN) -> None:
        super().__init__(model, pad=pad)
        self.pooling = pooling

    def forward(self, x: Tensor) -> Tensor:
        return self.vector(x)

    def vector(self, x: Tensor) -> Tensor:
        answer, heard = self.read(x)
        states: Tensor = answer.last_hidden_state  # [n, S, width]
        if self.pooling == FIRST_PLACE:
            return states[:, 0]
        shares = heard.to(states.dtype).unsqueeze(-1)
        return (states * shares).sum(1) / shares.sum(1)


class SentenceClassifier(SentenceNetwork):
    """A linear layer on a text's vector: logits [n, classes]."""

    answer = CLASSES

    def __init__(self, model: nn.Module, *, pad: int, pooling: str, width: int, classes: int) -> None:
        super().__init__(model, pad=pad, pooling=pooling)
        self.output = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.output(self.vector(x))
        return logits


class NextTokenNetwork(SubwordNetwork):
    """A causal model: logits [n, S, vocabulary] of the sub-word after each place; also one place at a time.

    Attributes:
        stream_places: How many places what it keeps has room for.
    """

    answer = NEXT_TOKEN
    stream_places = 1024

    @functools.cached_property
    def streams(self) -> bool:
        """Whether it takes one place at a time."""
        return can_step(self.model)

    def start_state(self) -> dict[str, Tensor]:
        """Its state before the first place, by name."""
        return start_state(self.model, self.stream_places)

    def step(self, word: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """Logits [1, vocabulary] and the state after a sub-word [1]."""
        return step(self.model, word, *state)

    def block(self, words: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """Logits [T, vocabulary] and the state after sub-words [T]."""
        return block(self.model, words, *state)

    def read(self, x: Tensor) -> tuple[Any, Tensor]:
        """As of the others; padding stands behind a text, where no place before it sees it, and is no matter.

        So what ends a text can be the padding, as with GPT-2, and stand between texts.
        """
        numbers = x.long()
        heard = torch.ones_like(numbers)
        return self.model(input_ids=numbers, attention_mask=heard), heard.bool()

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.read(x)[0].logits
        return logits
