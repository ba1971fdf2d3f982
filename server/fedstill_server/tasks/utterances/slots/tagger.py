"""The tagger: a small convolutional network over what `slot_words` says of each word.

    e_w    = sum of E[number] over the numbers of word w / sqrt(how many)
    h      = W [e_w, features of w]
    h     += relu(conv(h)), thrice, over 3 words that are 1, 2 and 4 apart
    logits = O relu(h)

Dilated convolutions over words (Strubell et al., 2017, arXiv:1702.02098) see seven words to each side. Word
embeddings are sums over hashed n-grams, as those of the student of intents; the table is the tagger's own,
since every device and every round changes the student's.
"""

from __future__ import annotations

import torch
from fedstill_proto.text.slot_words import FEATURES
from torch import Tensor, nn

WIDTH, HIDDEN = 18, 68
DILATIONS = (1, 2, 4)


class SlotTagger(nn.Module):
    """numbers [batch, words, grams], features [batch, words, FEATURES] -> logits [batch, words, labels]."""

    def __init__(self, buckets: int, labels: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(buckets, WIDTH, padding_idx=0)
        nn.init.normal_(self.embedding.weight, std=0.1)
        with torch.no_grad():
            self.embedding.weight[0] = 0
        self.input = nn.Linear(WIDTH + FEATURES, HIDDEN)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(HIDDEN, HIDDEN, 3, padding=apart, dilation=apart) for apart in DILATIONS
        )
        self.output = nn.Linear(HIDDEN, labels)

    def forward(self, numbers: Tensor, features: Tensor, there: Tensor, *, dropout: float = 0.0) -> Tensor:
        """there: [batch, words], 1 where a word is, and 0 beyond the end; dropout: of n-grams."""
        heard = (numbers > 0).to(features.dtype)
        if dropout:
            heard = heard * (torch.rand_like(heard) >= dropout)
        total = (self.embedding(numbers) * heard.unsqueeze(-1)).sum(2)
        mean = total / heard.sum(2, keepdim=True).clamp_min(1.0).sqrt()
        state = self.input(torch.cat([mean, features], -1)) * there.unsqueeze(-1)
        for convolution in self.convolutions:
            near = torch.relu(convolution(state.transpose(1, 2))).transpose(1, 2)
            state = (state + near) * there.unsqueeze(-1)
        return self.output(torch.relu(state))  # type: ignore[no-any-return]
