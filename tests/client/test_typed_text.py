"""Text as people type it, on a device: invisible signs, emoji, quotes, marks, capitals, odd prefixes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from fedstill_client.agent.agent import Agent
from fedstill_client.cli import app
from fedstill_client.keyboard.user_ngrams import UserNgrams
from typer.testing import CliRunner

from tests.client.keyboard_samples import WORD_LIST, keyboard_home


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    home = keyboard_home(tmp_path_factory.mktemp("typed") / "home")
    with Agent.open(home.folder) as agent:
        yield agent


@pytest.fixture
def agent(device: Agent) -> Iterator[Agent]:
    """A device that has typed nothing."""
    yield device
    device.forget(everything=True)


def suggested(agent: Agent, context: str, prefix: str = "", k: int = 10) -> list[str]:
    return [suggestion.word for suggestion in agent.suggest(context, prefix, k)]


def test_a_file_with_a_byte_order_mark(tmp_path: Path) -> None:
    """H14"""

    def run(*arguments: str) -> dict:
        result = CliRunner().invoke(app, [arguments[0], "--home", str(home.folder), "--json", *arguments[1:]])
        assert result.exit_code == 0, result.output
        return json.loads(result.output)

    home = keyboard_home(tmp_path / "home")
    (tmp_path / "bom.txt").write_bytes(b"\xef\xbb\xbfzebrafish swims at noon\r\nzebrafish sleeps\r\n")
    for _ in range(2):
        run("observe-text", "--input", str(tmp_path / "bom.txt"))
    found = [each["word"] for each in run("suggest", "")["suggestions"]]
    assert "zebrafish" in found
    assert all(word.isprintable() for word in found)


@pytest.mark.parametrize(
    ("typed", "word"),
    [
        ("\ufeffzebrafish", "zebrafish"),  # H14
        ("zebra\u200bfish", "zebrafish"),  # H27
        ("zebra\u00adfish", "zebrafish"),
        ("\u200ezebrafish\u200f", "zebrafish"),
        ("\u202azebrafish\u202c", "zebrafish"),
        ("\u2066zebra\u2060fish\u2069", "zebrafish"),
        ("zebrafish\ufeff", "zebrafish"),
        ("zebra\u200dfish", "zebrafish"),
        ("zebra\u200cfish", "zebrafish"),
        ("zebra\ufe0ffish", "zebrafish"),
        ("cafe\u0301", "café"),
        ("Rhabar\u00adber\u00adkuchen", "rhabarberkuchen"),
        ("\u200fשלום\u200e", "שלום"),
        ("\u061cمرحبا", "مرحبا"),
        ("مرحـــبا", "مرحبا"),
        ("мол\u00adоко", "молоко"),
        ("नमस्\u200bते", "नमस्ते"),
        ("Γειά\u200b", "γειά"),
        ("\u3164친구", "친구"),
    ],
)
def test_invisible_signs_are_no_letters(typed: str, word: str) -> None:
    own = UserNgrams(WORD_LIST)
    for text in (typed, f"x {typed} y", word):
        own.add(text)
    assert own.count(own.number(word)) == 3
    assert set(own.new_words) <= {word, "x", "y"}


@pytest.mark.parametrize(
    ("typed", "context", "prefix", "expected"),
    [
        ("see you lol😂", "see you", "", "lol"),  # H16
        ("see you lol😂", "see you lol", "", "😂"),
        ("see you lol😂", "", "lo", "lol"),
        ("great👍🏽 work", "great", "", "👍🏽"),
        ("great👍🏽work", "great👍🏽", "", "work"),
        ("😀😀hello", "😀", "", "hello"),
        ("we won🏆🎉", "we won🏆", "", "🎉"),
        ("our 👨‍👩‍👧‍👦family", "our", "", "👨‍👩‍👧‍👦"),
        ("our👨‍👩‍👧‍👦 family", "our👨‍👩‍👧‍👦", "", "family"),
        ("hallo🇩🇪🇫🇷", "hallo 🇩🇪", "", "🇫🇷"),
        ("step1️⃣ begin", "step", "", "1⃣"),
        ("пока❤️мама", "пока", "", "❤"),
        ("さくら🌸きれい", "さくら", "", "🌸"),
        ("شكرا🙏", "شكرا", "", "🙏"),
        ("धन्यवाद🙏🏾", "धन्यवाद", "", "🙏🏾"),
        ("flag🏴󠁧󠁢󠁳󠁣󠁴󠁿here", "flag", "", "🏴󠁧󠁢󠁳󠁣󠁴󠁿"),
        ("love ❤", "love", "", "❤"),  # H28
    ],
)
def test_emoji_are_words_of_their_own(
    agent: Agent, typed: str, context: str, prefix: str, expected: str
) -> None:
    for _ in range(3):
        agent.observe_text(typed)
    found = suggested(agent, context, prefix)
    assert expected in [word.replace("\ufe0f", "") for word in found]
    assert not [word for word in found if word.replace("\ufe0f", "") != expected and expected in word]


@pytest.mark.parametrize(
    ("one", "other", "word"),
    [
        ("❤", "❤️", "❤"),  # H28
        ("☺", "☺️", "☺"),
        ("✌🏽", "✌️🏽", "✌🏽"),
        ("♥︎", "♥️", "♥"),
        ("☀", "☀︎", "☀"),
        ("✈️", "✈", "✈"),
        ("❤‍🔥", "❤️‍🔥", "❤\u200d🔥"),
        ("🏳‍🌈", "🏳️‍🌈", "🏳\u200d🌈"),
        ("👁‍🗨", "👁️‍🗨️", "👁\u200d🗨"),
        ("2⃣", "2️⃣", "2⃣"),
        ("#⃣", "#️⃣", "#⃣"),
        ("⚠", "⚠️", "⚠"),
    ],
)
def test_variation_selectors_make_no_other_word(agent: Agent, one: str, other: str, word: str) -> None:
    for emoji in (one, other):
        agent.observe_text(f"love {emoji}")
    found = suggested(agent, "love")
    plain = [each.replace("\ufe0f", "").replace("\ufe0e", "") for each in found]
    assert plain.count(word) == 1


@pytest.mark.parametrize(
    ("typed", "context", "word"),
    [
        ("she said 'brilliant' again", "she said", "brilliant"),  # H17
        ("she said ‘brilliant’ again", "she said", "brilliant"),
        ("she said “brilliant” again", "she said", "brilliant"),
        ('she said "brilliant" again', "she said", "brilliant"),
        ("she said ''brilliant'' again", "she said", "brilliant"),
        ("she said `brilliant` again", "she said", "brilliant"),
        ("sie sagte „prächtig“ dazu", "sie sagte", "prächtig"),
        ("sie sagte ‚prächtig‘ dazu", "sie sagte", "prächtig"),
        ("sie sagte »prächtig« dazu", "sie sagte", "prächtig"),
        ("elle dit «génial» encore", "elle dit", "génial"),
        ("elle dit ‹génial› encore", "elle dit", "génial"),
        ("hij zei 'prachtig' erbij", "hij zei", "prachtig"),
        ("dijo (genial) otra vez", "dijo", "genial"),
        ("she said *brilliant* again", "she said", "brilliant"),
        ("she said _brilliant_ again", "she said", "brilliant"),
        ("она сказала «чудесно» опять", "она сказала", "чудесно"),
        ("彼は「テスト」と", "彼は", "テスト"),
        ("ἔφη ‘καλόν’ πάλιν", "ἔφη", "καλόν"),
    ],
)
def test_quotation_marks_are_no_letters(agent: Agent, typed: str, context: str, word: str) -> None:
    for _ in range(3):
        agent.observe_text(typed)
    assert word in suggested(agent, context)
    assert word in suggested(agent, "", word[:3])


@pytest.mark.parametrize(
    "word", ["'tis", "'twas", "'em", "'cause", "o'er", "don't", "l'été", "rock-'n'-roll"]
)
def test_apostrophes_of_words_stay(agent: Agent, word: str) -> None:
    for _ in range(3):
        agent.observe_text(f"so {word} good")
    begin = word.split("-")[0]
    assert begin in suggested(agent, "so")


@pytest.mark.parametrize(
    ("typed", "context", "word"),
    [
        ("मैं ठीक हूँ।", "मैं ठीक", "हूँ"),  # H18
        ("كيف حالك؟", "كيف", "حالك"),
        ("আমি ভালো আছি।", "আমি ভালো", "আছি"),
        ("آپ کیسے ہیں۔", "آپ کیسے", "ہیں"),
        ("نعم، شكرا؛", "نعم،", "شكرا"),
        ("ես լավ եմ։", "ես լավ", "եմ"),
        ("ሰላም ነው።", "ሰላም", "ነው"),
        ("¿Cómo estás?", "cómo", "estás"),
        ("¡qué bien!", "qué", "bien"),
        ("well then…", "well", "then"),
        ("no way!!!", "no", "way"),
        ("what now?!", "what", "now"),
        ("マジ。テスト。", "マジ。", "テスト"),
        ("ας πάμε·", "ας", "πάμε"),
        ("सः गच्छति॥", "सः", "गच्छति"),
        ("wait—what", "wait", "what"),
        ("yes/no", "yes", "no"),
        ("fine;really", "fine;", "really"),
    ],
)
def test_marks_of_all_scripts_are_no_letters(agent: Agent, typed: str, context: str, word: str) -> None:
    for _ in range(3):
        agent.observe_text(typed)
    assert word in [found.lower() for found in suggested(agent, context)]
    assert all(word == found for found in suggested(agent, "", word) if word in found)


@pytest.mark.parametrize(
    ("typed", "context", "prefix", "word"),
    [
        ("We had lunch with Priyanka in Reykjavik near NASA", "we had lunch with", "", "Priyanka"),  # H19
        ("We had lunch with Priyanka in Reykjavik near NASA", "lunch in", "", "Reykjavik"),
        ("We had lunch with Priyanka in Reykjavik near NASA", "lunch", "nas", "NASA"),
        ("We had lunch with Priyanka in Reykjavik near NASA", "lunch", "Nas", "NASA"),
        ("We had lunch with Priyanka in Reykjavik near NASA", "lunch", "PRI", "PRIYANKA"),
        ("We had lunch with Priyanka in Reykjavik near NASA", "lunch", "pri", "Priyanka"),
        ("so I think I'm late", "so", "", "I"),
        ("so I think I'm late", "think", "i'", "I'm"),
        ("on my iPhone today", "on my", "", "iPhone"),
        ("on my iPhone today", "", "", "on"),
        ("On my iPhone today", "", "", "On"),
        ("on my iPhone today", "on my", "ip", "iPhone"),
        ("with McDonald and O'Brien", "with", "", "McDonald"),
        ("with McDonald and O'Brien", "with", "o'", "O'Brien"),
        ("das Essen ist kalt", "das", "", "Essen"),
        ("я живу в Киеве", "живу в", "", "Киеве"),
        ("πάμε στην Αθήνα", "στην", "", "Αθήνα"),
        ("vamos a México", "vamos a", "mé", "México"),
        ("her yer İstanbul gibi", "her yer", "", "İstanbul"),
        ("Տեսա Երևան քաղաքը", "տեսա", "", "Երևան"),
        ("we use eBay a lot", "we use", "", "eBay"),
        ("wij eten IJs samen", "eten", "", "IJs"),
        ("au musée d'Orsay", "musée", "", "d'Orsay"),
        ("see Jean-Luc there", "see", "jean", "Jean-Luc"),
        ("my PhD is done", "my", "", "PhD"),
        ("send it to Anna. She waits", "send it to", "", "Anna"),
    ],
)
def test_words_are_suggested_as_they_are_written(
    agent: Agent, typed: str, context: str, prefix: str, word: str
) -> None:
    for _ in range(4):
        agent.observe_text(typed)
    assert word in suggested(agent, context, prefix)


@pytest.mark.parametrize(
    ("context", "starts"),
    [
        ("", True),
        ("I see. ", True),
        ("really?", True),
        ("great!\n", True),
        ("a line\n", True),
        ("ठीक है।", True),
        ("نعم؟", True),
        ('he said: "', True),
        ("ok 😂. 🎉", True),
        ("e.g.", False),
        ("with Dr.", False),
        ("J.", False),
        ("so,", False),
        ("I see", False),
    ],
)
def test_sentences_start_with_a_capital(agent: Agent, context: str, starts: bool) -> None:
    assert {word[0].isupper() for word in suggested(agent, context, k=20)} == {starts}


@pytest.mark.parametrize(
    ("typed", "context", "word"),
    [("WHAT A DAY THAT WAS", "what a", "day"), ("Zebrafish swim", "we saw", "zebrafish")],
)
def test_capitals_of_lines_and_of_sentences_are_no_word_s_own(
    agent: Agent, typed: str, context: str, word: str
) -> None:
    for _ in range(3):
        agent.observe_text(typed)
    assert word in suggested(agent, context, word[:2], k=20)


def test_who_begins_a_word_small_gets_it_so(agent: Agent) -> None:
    for _ in range(3):
        agent.observe_text("zebrafish sleep")
    assert {"zebrafish", "The"} <= set(suggested(agent, "", k=20))


@pytest.mark.parametrize(
    "prefix",
    ["anna@", "anna@ex", "www.ex", "www.", "https://ex", "10:3", "4821", "1,000,0", "he,", "he.", "?", "…",
     ",", "😂", "lol😂", "❤️", "🇩", "$", "€5000", "/etc/f", "C:\\Us", "a" * 81, "ä" * 500, "x" * 100_001,
     "\x00", "\ud800\x01", "he।", "؟", "report.pdf", "@anna", "-", "--", "he--", "+49170123456"],
)  # fmt: skip
def test_a_prefix_that_is_no_word_gives_nothing(agent: Agent, prefix: str) -> None:
    """H25"""
    agent.observe_text("he will help her, anna and the report")
    agent.suggest("mail", prefix)
    if prefix.strip("\x00\ud800\x01"):
        assert suggested(agent, "mail", prefix) == []


@pytest.mark.parametrize(
    "prefix",
    ['"(he', '"“he', "#he", "(he", "¿he", "¡he", "‘he", "„he", "«he", "'he", "*he", "_he", "—he", "yes/he",
     "😂he", "well...he", "\ufeffhe", "h\u00ade", "[he", "10€he"],
)  # fmt: skip
def test_a_word_behind_signs_is_completed(agent: Agent, prefix: str) -> None:
    """H25"""
    for _ in range(3):
        agent.observe_text("we will help")
    assert "help" in suggested(agent, "mail", prefix)


@pytest.mark.parametrize(
    "word",
    [
        "Donaudampfschifffahrtsgesellschaftskapitän",  # H26
        "Rindfleischetikettierungsüberwachungsaufgabenübertragungsgesetz",
        "Grundstücksverkehrsgenehmigungszuständigkeitsübertragungsverordnung",
        "Kindercarnavalsoptochtvoorbereidingswerkzaamheden",
        "epäjärjestelmällistyttämättömyydelläänsäkäänköhän",
        "muvaffakiyetsizleştiricileştiriveremeyebileceklerimizdenmişsinizcesine",
        "megszentségteleníthetetlenségeskedéseitekért",
        "превысокомногорассмотрительствующий",
        "honorificabilitudinitatibus-honorificabilitudinitas",
        "Llanfairpwllgwyngyllgogerychwyrndrobwllllantysiliogogogoch",
        "nordøstersjøkystartilleriflysimulatoranlegg",
        "najneobhospodářovávatelnějšímu-najneobhospodářovávatelnějšímu",
    ],
)
def test_long_words(agent: Agent, word: str) -> None:
    for _ in range(3):
        agent.observe_text(f"der {word} kam")
    assert word in suggested(agent, "der", word[:10])
    assert word in suggested(agent, "der", word[:41])
