"""Sentences that ask for nothing, made for tables of any kind, and confidence fitted with them."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from fedstill_proto.text.intents import OUT_OF_SCOPE
from fedstill_proto.text.ngrams import words_of
from fedstill_server.tasks.utterances.confidence import confidence_of_nothing, fitted_confidence
from fedstill_server.tasks.utterances.pipeline import AssistantPlan
from fedstill_server.tasks.utterances.scope.negatives import Negatives, polite_wishes
from fedstill_server.tasks.utterances.scope.phrases import all_phrases, language_of, language_shares
from fedstill_server.tasks.utterances.tables import read_fleet_utterances, unasked_for

HOME = [
    f"{verb} the {thing}" for verb in ("turn on", "turn off", "open") for thing in ("lamp", "radio", "tv")
]
BANK = [
    *("what is my account balance", "transfer fifty dollars to my father", "pay my electricity bill"),
    *("my credit card was stolen", "i need a loan", "how much did i spend on food", "how much tax do i pay"),
    *("what is the exchange rate of the dollar", "buy ten shares of this company", "is my rent paid yet"),
]
PLAN = AssistantPlan(families=("ngrams-small",))


def test_the_same_sentences_are_drawn_again_and_none_is_the_operators() -> None:
    one, other = (Negatives(HOME).draw(200, seed=1) for _ in range(2))

    assert one == other != Negatives(HOME).draw(200, seed=2)
    assert len(set(one)) == len(one) == 200
    assert not set(one) & set(HOME)
    assert all(words_of(text) for text in one)


def test_what_is_held_out_is_of_other_templates() -> None:
    for phrases in all_phrases().values():
        for templates in phrases.templates.values():
            learned, held_out = (phrases.part(templates, held_out=each) for each in (False, True))
            assert held_out == list(templates) or not set(learned) & set(held_out)
        for topic in phrases.topics.values():
            learned, held_out = (phrases.sentences(topic, held_out=each) for each in (False, True))
            assert sorted(learned + held_out) == sorted(topic)


def test_topics_of_the_operator_are_left_out() -> None:
    homes, banks = (set(Negatives(said)._languages["en"].topics) for said in (HOME, BANK))

    money = set(all_phrases()["en"].topics["money"])
    assert not banks & money
    assert len(homes & money) > len(money) / 2
    assert len(banks) > 100


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("turn on the light in my kitchen", "en"),
        ("mach bitte das Licht im Bad an", "de"),
        ("allume la lumière dans la cuisine", "fr"),
        ("enciende la luz de la cocina por favor", "es"),
        ("doe het licht in de keuken aan", "nl"),
        ("zapal światło", ""),
    ],
)
def test_the_language_of_an_utterance(text: str, language: str) -> None:
    assert language_of(text) == language


def test_languages_that_nobody_knows_get_those_that_there_are() -> None:
    polish = ["zapal światło", "zgaś światło", "otwórz okno", "zamknij okno"]

    drawn = Negatives(polish).draw(100, seed=0)

    assert len(drawn) == 100
    assert language_shares(polish) == {}
    assert len(language_shares(drawn)) == 5


def test_polite_wishes_mean_what_they_meant() -> None:
    put = polite_wishes([(text, text) for text in HOME], 40, seed=0)

    assert len(put) > 20
    assert all(set(words_of(label)) & set(words_of(text)) for text, label in put)
    assert not any({"not", "don", "never"} & set(words_of(text)) for text, _ in put)


def test_few_utterances_get_as_many_sentences_and_held_out_ones() -> None:
    made = unasked_for([(text, "a") for text in HOME], seed=0)

    assert len(made.learned) == 60
    assert 100 < len(made.held_out) <= 500
    assert not set(made.learned) & set(made.held_out)


def test_a_threshold_by_hand_with_what_asks_for_nothing() -> None:
    def logits(*rows: tuple[float, float, float]) -> np.ndarray:
        return np.log(np.array(rows, np.float32))

    asked = logits((0.9, 0.05, 0.05)).repeat(200, 0)
    labels = np.array([0] * 9 + [1]).repeat(20)  # as many are right as its confidence says
    # Of 100, two are taken for something: one may be sure, and the other not.
    unasked = logits(*[(0.02, 0.03, 0.95)] * 98, (0.95, 0.02, 0.03), (0.92, 0.05, 0.03))

    plain = fitted_confidence(asked, labels, nothing=2, precision=0.8)
    fitted = fitted_confidence(asked, labels, nothing=2, precision=0.8, unasked=unasked)
    alone = confidence_of_nothing(unasked, nothing=2)

    assert plain.threshold == pytest.approx(0.9, abs=0.02)
    assert plain.threshold < fitted.threshold
    assert 0.92 < alone.threshold < 0.95
    with_labels = fitted_confidence(
        np.concatenate([asked, unasked]), np.concatenate([labels, np.full(100, 2)]), nothing=2, precision=0.8
    )
    assert with_labels == fitted


def test_a_table_of_a_bank_gets_a_class_of_what_asks_for_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [f"{text},{'money' if at % 2 else 'card'}" for at, text in enumerate(BANK)]
    public = tmp_path / "public.csv"
    public.write_text("\n".join(["text,label", *rows, "how tall is a tree,oos", "hello?,None", "x y,crad"]))

    with caplog.at_level(logging.WARNING):
        read = read_fleet_utterances(public, None, cache=tmp_path, plan=PLAN)

    assert read.schema.names == ("card", "crad", "money", OUT_OF_SCOPE)
    assert read.schema.out_of_scope == OUT_OF_SCOPE
    assert read.teaching.y is not None
    assert read.teaching.y[10:13].tolist() == [3, 3, 1]
    assert (read.teaching.y == 3).sum() == 62
    assert "intents of a single utterance: 'crad' (line 14)" in caplog.text
