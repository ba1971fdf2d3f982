"""Rows of words that are written by one who says next words, or by several in turn at random."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from fedstill_server.distill.on_policy.next_words import WordPredictor
from fedstill_server.families.state import train_mode

Voice = tuple[float, WordPredictor]
"""Who says next words, and the share of the words that are drawn from what it says."""


def written_rows(
    voices: Sequence[Voice], given: Tensor, *, places: int, warmth: float, random: torch.Generator
) -> Tensor:
    """Rows that go on from their first words, each word drawn from sum of share * softmax(logits / warmth).

    Args:
        voices: Who writes; the shares sum to 1, and those of 0 are not asked.
        given: The words that each row begins with, int64 [n, b], b of 1 or more.
        places: Words of a row, less one.
        warmth: The temperature of the drawing; 0 takes the likeliest word.
        random: Draws the words.

    Returns:
        Words int64 [n, places + 1].
    """
    heard = [(share, voice) for share, voice in voices if share > 0]
    states = [voice.begin(len(given)) for _, voice in heard]
    words = list(given.unbind(1))
    with torch.no_grad():
        for place in range(places):
            said = []
            for number, (share, voice) in enumerate(heard):
                logits, states[number] = voice.after(words[place], states[number])
                said.append((share, logits))
            if place + 1 == len(words):
                words.append(_drawn(said, warmth, random))
    return torch.stack(words, dim=1)


def _drawn(said: Sequence[tuple[float, Tensor]], warmth: float, random: torch.Generator) -> Tensor:
    """A word for each row [n]."""
    sharpness = 1 / warmth if warmth else 1.0
    chances = torch.stack([share * torch.softmax(logits * sharpness, -1) for share, logits in said]).sum(0)
    if not warmth:
        return chances.argmax(-1)
    return torch.multinomial(chances, 1, generator=random).squeeze(1)


@contextmanager
def answering(network: nn.Module) -> Iterator[None]:
    """A context in which a network that is being trained answers as it will afterwards: without dropout."""
    training = network.training
    network.eval()
    try:
        yield
    finally:
        if training:
            train_mode(network)
