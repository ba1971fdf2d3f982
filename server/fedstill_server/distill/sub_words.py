"""Rows of sub-words in a distillation: which places of them hold something, and which rows go together.

A short text's row is filled up with padding, whose hidden states mean nothing and whose reading costs as much
as that of words. So no technique compares them; and where texts of like length share a batch, it is cut to
the longest of them, which changes no answer.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fedstill_server.hugging_face.network import SentenceClassifier, SentenceNetwork, SubwordNetwork

_BATCHES_SORTED = 32  # of a random order, within which rows are put in order of their length


def is_sentence_model(network: nn.Module) -> bool:
    """Whether a network's answer is a vector of a text, and not classes."""
    return isinstance(network, SentenceNetwork) and not isinstance(network, SentenceClassifier)


def heard_places(network: nn.Module, x: Tensor) -> Tensor | None:
    """Which places of rows [B, S] a network of sub-words heeds, bool [B, S]; None for any other network."""
    if not isinstance(network, SubwordNetwork):
        return None
    return (x != network.pad) | (torch.arange(x.shape[1]) == 0)


def cut(x: Tensor, heard: Tensor) -> Tensor:
    """Rows [B, S] without the places at the end that hold nothing in any of them."""
    longest = int(heard.any(dim=0).nonzero()[-1]) + 1
    return x[:, :longest].contiguous()


def order_by_length(order: Tensor, lengths: Tensor, *, batch_size: int, random: torch.Generator) -> Tensor:
    """An order of rows in which those of a batch are of like length, and batches come at random.

    Args:
        order: A random order of all rows [n].
        lengths: How many places of each row hold something [n].
        batch_size: Rows of a batch.
        random: Draws the order of the batches.
    """
    whole = len(order) // batch_size * batch_size
    sorted_parts = [
        part[lengths[part].argsort(stable=True)]
        for part in order[:whole].split(batch_size * _BATCHES_SORTED)  # type: ignore[no-untyped-call]
    ]
    batches = torch.cat([*sorted_parts, order[:0]]).reshape(-1, batch_size)
    shuffled = batches[torch.randperm(len(batches), generator=random)]
    return torch.cat([shuffled.flatten(), order[whole:]])  # the rows of the last, smaller batch stay there
