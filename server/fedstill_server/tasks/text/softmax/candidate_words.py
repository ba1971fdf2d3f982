"""The words that a step's softmax is over, where a list is long: an unbiased estimate of its sum.

Z = sum over all words w of exp(z_w) is estimated from a part of them,

    Z ~ sum over C of exp(z_w) + sum over S of exp(z_w) / pi_w

C holds the words that come next in the step and the most frequent ones, which carry most of Z; S is drawn of
the others, word w with the chance pi_w (Poisson sampling; Horvitz and Thompson, 1952). A drawn word's logit
is raised by -log pi_w, and the loss is the usual one over C and S (as in Bengio and Senecal, 2008, "Adaptive
importance sampling to accelerate training of a neural probabilistic language model").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from fedstill_server.tasks.text.softmax.tied_softmax import NextWordTargets

_POWER = 0.5  # of a count, of which the chance of being drawn is a multiple


class CandidateWords:
    """Draws of the words of texts 0 to V - 1."""

    def __init__(self, texts: Sequence[Sequence[int]], *, words: int, drawn: int) -> None:
        said = np.concatenate(
            [np.asarray(text, np.int64) for text in texts if len(text)] or [np.zeros(0, np.int64)]
        )
        counts = np.bincount(said, minlength=words).astype(np.float64) + 1
        frequent = np.argsort(-counts, kind="stable")[:drawn]
        weights = counts**_POWER
        weights[frequent] = 0
        chances = np.minimum(1.0, drawn * weights / max(weights.sum(), 1e-300))
        chances[frequent] = 1.0
        self._chances = torch.from_numpy(chances).float()
        self._raised = -torch.log(self._chances.clamp_min(1e-9))

    def narrowed(self, targets: NextWordTargets, random: torch.Generator) -> NextWordTargets:
        """The same next words, as places among the candidates of one step."""
        chosen = torch.rand(len(self._chances), generator=random) < self._chances
        raised = self._raised.clone()
        raised[targets.words] = 0
        chosen[targets.words] = True
        candidates = chosen.nonzero().squeeze(-1)
        place: Tensor = torch.cumsum(chosen, 0) - 1
        return replace(targets, words=place[targets.words], candidates=candidates, raised=raised[candidates])
