"""The keyboard of one simulated device, with and without its own words."""

from __future__ import annotations

from fedstill_client.keyboard.adaptation import Adaptation
from fedstill_client.keyboard.next_word_model import NextWordModel
from fedstill_client.keyboard.suggester import Suggester
from fedstill_client.keyboard.user_ngrams import UserNgrams
from fedstill_proto.text.vocabulary import WordList

from fedstill_sim.tasks.text.data import Typist


def impersonal(word_list: WordList, model: NextWordModel) -> Suggester:
    """What a device suggests before its owner has typed anything."""
    return Suggester(UserNgrams(word_list), model)


def attentive(word_list: WordList, model: NextWordModel) -> Suggester:
    """What it suggests then, with what stands before in the text that is being typed."""
    return Suggester(UserNgrams(word_list), model, adaptation=Adaptation(len(word_list)))


def personal(word_list: WordList, model: NextWordModel, typist: Typist) -> Suggester:
    """What it suggests after its owner's training texts.

    The weights of its own n-grams are chosen on the last of those texts, which the counts then take in, too.
    """
    cut = set_aside(typist)
    adaptation = Adaptation(len(word_list))
    trying = Suggester(UserNgrams(word_list), model, adaptation=adaptation)
    for text in typist.train[:cut]:
        trying.observe(text)
    weights = trying.fit(typist.train[cut:])
    for text in typist.train[cut:]:
        trying.observe(text)
    return Suggester(trying.ngrams, model, adaptation=adaptation, weights=weights)


def set_aside(typist: Typist) -> int:
    """Where the training texts begin that choose what is made of the others: the last fifth of them."""
    return len(typist.train) - max(1, len(typist.train) // 5)
