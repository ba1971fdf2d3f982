"""A state-space student of text: a diagonal selective recurrence (Mamba; Gu and Dao, 2023, arXiv:2312.00752).

    u, g = split(I n(x))                                    two branches of C channels each
    u <- silu(sum_k K_k u_(t-k))                            over this place and the three before it
    d = softplus(D u + b + e)                               how far a place moves the state, of each channel
    h_t = exp(-n |a| d) h_(t-1) + d B(u) u                  n = 1 .. N, the numbers of a channel
    x <- x + O((C(u) h_t + s u) * silu(g))                  what is read of them, as far as g lets it through

What goes into the state, and what is read of it, is chosen by the word itself (B, C and d are functions of
it). The state is C x N numbers however long the text is: a word costs the same after ten words as after ten
thousand. As in language.py the table of words is tied. All is written in plain products, slices and
element-wise operators, of which every gradient can be lowered, and what learns meets a word's numbers as it
stands, so that a device can replace it. a begins at 1 and b at 0, and what differs between numbers and
channels is the constants n and e: float32 could not take small steps from large values. Only h waits for the
place before it; everything else is computed for all places at once.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from fedstill_server.families.transformer import RootMeanSquareNormalization

WIDTH, CHANNELS, BLOCKS = 64, 128, 2
_STATES = 8  # numbers of a channel
_REACH = 4  # places that the short convolution sees
_FIRST_STEPS = -4.6, -0.4  # e: softplus of it is 0.01 to 0.5, of which the first channels remember longest


class SelectiveBlock(nn.Module):
    """One layer: rows [batch * S, width] in, the same out."""

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        rank = -(-width // 16)
        self.channels, self.parts = channels, (rank, _STATES, _STATES)
        self.norm = RootMeanSquareNormalization(width)
        self.inward = nn.Linear(width, 2 * channels, bias=False)
        self.kernel = nn.Parameter(torch.empty(_REACH, channels).uniform_(-1, 1) * _REACH**-0.5)
        self.kernel_bias = nn.Parameter(torch.zeros(channels))
        self.chosen = nn.Linear(channels, sum(self.parts), bias=False)  # of d, into the state, out of it
        self.to_step = nn.Linear(rank, channels)
        nn.init.zeros_(self.to_step.bias)
        self.rates = nn.Parameter(torch.ones(_STATES, channels))
        self.direct = nn.Parameter(torch.ones(channels))
        self.outward = nn.Linear(channels, width, bias=False)

    def forward(self, x: Tensor, places: int) -> Tensor:
        width = x.shape[1]
        normal = self.norm(x).reshape(-1, places, width)
        batch = normal.shape[0]
        into, gate = self.inward(normal.transpose(0, 1).reshape(-1, width)).chunk(2, -1)  # [S * batch, C]
        before = into.new_zeros(_REACH - 1, batch, self.channels)
        inputs = torch.cat([before, into.reshape(places, batch, self.channels)])
        seen = self._convolved(inputs).reshape(-1, self.channels)
        decay, drive, read = self._of_places(seen)
        shape = (places, batch, _STATES, self.channels)
        state = into.new_zeros(batch, _STATES, self.channels)
        states = []
        for kept, added in zip(decay.reshape(shape).unbind(), drive.reshape(shape).unbind(), strict=True):
            state = kept * state + added
            states.append(state)
        out = self._out(torch.cat(states), read, seen, gate)
        return x + out.reshape(places, batch, width).transpose(0, 1).reshape(-1, width)

    def step(self, x: Tensor, before: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """One place x [1, width], after the inputs of the three before it [3, C] and the state [N, C]."""
        into, gate = self.inward(self.norm(x)).chunk(2, -1)
        inputs = torch.cat([before, into])
        seen = self._convolved(inputs.unsqueeze(1)).reshape(1, self.channels)
        decay, drive, read = self._of_places(seen)
        after = decay[0] * state + drive[0]
        return x + self._out(after.unsqueeze(0), read, seen, gate), inputs[1:], after

    def _convolved(self, inputs: Tensor) -> Tensor:
        """[3 + S, batch, C] -> [S, batch, C]."""
        places = len(inputs) - _REACH + 1
        windows = torch.stack([inputs[back : back + places] for back in range(_REACH)], 2)
        seen = (windows * self.kernel).sum(2) + self.kernel_bias
        return seen * torch.sigmoid(seen)

    def _of_places(self, seen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What each place keeps of the state, adds to it [rows, N, C], and reads of it [rows, 1, N]."""
        step, into, read = self.chosen(seen).split(self.parts, -1)
        moved = functional.softplus(self.to_step(step) + _spread(self.channels, seen))  # [rows, C]
        numbers = torch.arange(-1, -_STATES - 1, -1).to(seen.dtype).unsqueeze(1)
        decay = ((moved.unsqueeze(1) * self.rates).abs() * numbers).exp()
        return decay, into.unsqueeze(2) * (moved * seen).unsqueeze(1), read.unsqueeze(1)

    def _out(self, states: Tensor, read: Tensor, seen: Tensor, gate: Tensor) -> Tensor:
        """states: [rows, N, C] -> [rows, width]."""
        said = torch.bmm(read, states).reshape(seen.shape) + self.direct * seen
        return self.outward(said * gate * torch.sigmoid(gate))  # type: ignore[no-any-return]


class SelectiveStateSpace(nn.Module):
    """Blocks of selective recurrence over tied embeddings, for rows of any length."""

    stream_places = 0  # a state takes in any number of words

    def __init__(
        self, vocabulary: int, *, width: int = WIDTH, channels: int = CHANNELS, blocks: int = BLOCKS
    ) -> None:
        super().__init__()
        self.channels = channels
        self.embedding = nn.Embedding(vocabulary, width)
        self.blocks = nn.ModuleList(SelectiveBlock(width, channels) for _ in range(blocks))
        self.norm = RootMeanSquareNormalization(width)
        nn.init.normal_(self.embedding.weight, std=width**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        batch, places = x.shape
        rows = self.embedding(x.reshape(-1))  # [batch * S, width]
        for block in self.blocks:
            rows = block(rows, places)
        return self._logits(rows).reshape(batch, places, -1)

    def start_state(self) -> dict[str, Tensor]:
        """The last inputs of all blocks' convolutions, and their states, block by block."""
        blocks = len(self.blocks)
        return {
            "inputs": torch.zeros(blocks * (_REACH - 1), self.channels),
            "state": torch.zeros(blocks * _STATES, self.channels),
        }

    def step(self, word: Tensor, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits [1, vocabulary] and the state after a word [1]."""
        row, seen, after, count = self.embedding(word), [], [], len(self.blocks)
        for block, before, own in zip(self.blocks, inputs.chunk(count), state.chunk(count), strict=True):
            row, last, own = block.step(row, before, own)  # type: ignore[operator]
            seen.append(last)
            after.append(own)
        return self._logits(row), torch.cat(seen), torch.cat(after)

    def _logits(self, rows: Tensor) -> Tensor:
        """[rows, width] -> [rows, vocabulary]."""
        return functional.linear(self.norm(rows), self.embedding.weight)


def _spread(channels: int, like: Tensor) -> Tensor:
    """e [C], evenly from the first to the last."""
    first, last = _FIRST_STEPS
    return torch.arange(channels).to(like.dtype) * ((last - first) / max(1, channels - 1)) + first
