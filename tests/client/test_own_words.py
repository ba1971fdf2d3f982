"""The owner's hand on what was learned: no secret is ever suggested; words are listed, forgotten, blocked."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from pathlib import Path

import pytest
from fedstill_client import AgentClient
from fedstill_client.agent.agent import Agent
from fedstill_client.agent_types import AgentRefused, OwnWord, PersonalizeOptions
from fedstill_client.cli import app
from fedstill_client.home import AgentHome
from fedstill_client.keyboard.context import LearnableContext
from fedstill_client.keyboard.personal_dictionary import (
    DictionaryProblem,
    read_personal_dictionary,
    write_personal_dictionary,
)
from fedstill_client.service.endpoint import serving_lock
from fedstill_client.service.server import running
from fedstill_client.store import PrivateStore
from fedstill_client.store.texts import add_text
from fedstill_proto.errors import FedstillError, InvalidValue
from fedstill_proto.text.private_text import LEFT_OUT, learnable
from fedstill_proto.text.vocabulary import is_word, split
from typer.testing import CliRunner

from benchmarks.planted_secrets import planted_secrets
from tests.client.keyboard_samples import keyboard_home
from tests.client.recording_agent import short_home

OWN = "quillfeather"


@pytest.fixture
def home(tmp_path: Path) -> AgentHome:
    return keyboard_home(tmp_path / "home")


def run(home: AgentHome, *arguments: str) -> str:
    result = CliRunner().invoke(app, [*arguments, "--home", str(home.folder)])
    if isinstance(result.exception, FedstillError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def suggested(agent: Agent | AgentClient, context: str = "", prefix: str = "", k: int = 20) -> list[str]:
    return [each.word.lower() for each in agent.suggest(context, prefix, k)]


@pytest.fixture(scope="module")
def planted_home(tmp_path_factory: pytest.TempPathFactory) -> AgentHome:
    """500 secrets, each typed three times in its sentence."""
    home = keyboard_home(tmp_path_factory.mktemp("planted") / "home")
    with PrivateStore.open(home) as store, store.transaction():
        for secret in planted_secrets():
            for _ in range(3):
                add_text(store._database, secret.sentence, observed_at=time.time())
    return home


def test_no_planted_secret_can_be_suggested_and_the_words_around_are(planted_home: AgentHome) -> None:
    planted = planted_secrets()
    around = {word for each in planted for word in split(each.sentence.replace(each.secret, " "))}
    with Agent.open(planted_home.folder) as agent:
        suggester = agent._required_suggester()
        possible = set(suggester._suggestable().words)  # whatever context and prefix
        learned = set(suggester.ngrams.new_words)
        for each in planted:
            secret = {token for token in split(each.secret) if is_word(token) and len(token) > 1} - around
            assert not secret & possible, each
            assert not secret & learned, each
        ordinary = {"please", "keep", "bewaar", "запомни", "guarda", "passwort", "contraseña", "benutzername"}
        assert ordinary <= possible
        for each in planted[::25]:
            for prefix in (
                "",
                *(each.secret[:letters] for letters in (1, 2, 4) if each.secret[:letters].isalnum()),
            ):
                shown = set(suggested(agent, each.before, prefix))
                assert not shown & ({token for token in split(each.secret) if len(token) > 1} - around), each
        assert "keep" in suggested(agent, "please", "ke")
    files = b"".join(file.read_bytes() for file in planted_home.folder.glob("store.db*"))
    assert not [each for each in planted if len(each.secret) > 5 and each.secret.encode() in files]


@pytest.mark.parametrize("text", ["my pin is 4821", "password hunter2xQ"])
def test_h23(home: AgentHome, text: str) -> None:
    before, secret = text.rsplit(" ", 1)
    with Agent.open(home.folder) as agent:
        for _ in range(2):
            assert agent.observe_text(text).left_out == 1
        assert secret.lower() not in suggested(agent, before)
        assert suggested(agent, before, "hunt") == suggested(agent, before, "4821") == []
        only = agent.observe_text("4821")
        assert (only, only.left_out) == (0, 1)
        with pytest.raises(InvalidValue, match="holds no word"):
            agent.observe_text("...")


def test_a_private_field_teaches_nothing(home: AgentHome) -> None:
    with Agent.open(home.folder) as agent:
        for _ in range(3):
            assert agent.observe_text(f"dear {OWN}", learn=False) == 0
        assert agent.status().stored_bytes == 0
        public = agent.suggest("the", "qu", private=True)
        for _ in range(3):
            agent.observe_text(f"the {OWN}")
        assert OWN in suggested(agent, "the", "qu")
        assert agent.suggest("the", "qu", private=True) == public
        own = agent._required_suggester()
        assert own._scored is None or "zebra" not in own._scored.context
        agent.suggest("a zebra", private=True)
        assert own._scored is None or "zebra" not in own._scored.context


def test_contexts_are_looked_through_piece_by_piece() -> None:
    contexts = LearnableContext()
    text = (
        "We meet at noon. My pin is 4821! " * 40 + "no end of words " * 200 + "my password is hunter2xQ "
    ) * 2
    for end in (1, 40, 500, 3000, len(text) - 3, len(text)):
        assert contexts.of(text[:end]).split() == learnable(text[:end]).text.split()
        assert len(contexts.of(text[:end])) <= end + 9 * 90
    assert not any("4821" in kept or "hunter" in kept for kept in contexts._pieces.values())
    assert contexts.of("x" * 5000 + " y").split()[-1] == "y"
    with pytest.raises(InvalidValue, match="100001 characters"):
        contexts.of("x" * 100_001)


def test_texts_of_earlier_agents_are_cleaned_with_what_was_learned_of_them(home: AgentHome) -> None:
    with Agent.open(home.folder) as agent:
        for _ in range(30):
            agent.observe_text("we meet the old fox tonight")
        options = PersonalizeOptions(epochs=2, batch_size=4, learning_rate=0.05, seed=0)
        assert agent.personalize(options).result == "replaced"
    database = sqlite3.connect(home.store)  # as version 3 left it
    database.execute("UPDATE examples SET x = ? WHERE id = 1", (b"my pin is 4821",))
    database.execute("DELETE FROM settings WHERE name = 'private text rules'")
    for table in ("dictionary", "blocked"):
        database.execute(f"DROP TABLE {table}")
    database.execute("PRAGMA user_version = 3")
    database.commit()
    database.close()

    with Agent.open(home.folder) as agent:
        assert next(iter(agent._store.texts())).text == f"my pin is {LEFT_OUT}"
        assert agent.status().student_run == ""
        assert agent.words().left_out == 1
    with Agent.open(home.folder) as agent:
        assert len(list(agent._store.texts())) == 30
    assert b"4821" not in b"".join(file.read_bytes() for file in home.folder.glob("store.db*"))


def test_words_are_listed_and_forgotten(home: AgentHome) -> None:
    with Agent.open(home.folder) as agent:
        for _ in range(20):
            agent.observe_text("we met Quillfeather tonight and 4821")
        agent.observe_text("dear zebrafish")
        agent.personalize(PersonalizeOptions(epochs=1, batch_size=4, learning_rate=0.05, seed=0))
        words = agent.words()
        assert [(word.word, word.count) for word in words.words if word.word[0] in "Qz"] == [
            ("Quillfeather", 20),
            ("zebrafish", 1),
        ]
        assert words.left_out == 20
        assert words.words[0].last > 1e9
        forgotten = agent.words("forget", ["QUILLFEATHER", "nessie"])
        assert (forgotten.changed, forgotten.texts) == (1, 20)
        assert agent.status().student_run == ""
        assert OWN not in suggested(agent, "met", "qu")
        assert "tonight" in suggested(agent, "we met", "to")
    assert b"uillfeather" not in b"".join(file.read_bytes() for file in home.folder.glob("store.db*"))


def test_blocked_words_are_neither_suggested_nor_learned(home: AgentHome) -> None:
    with Agent.open(home.folder) as agent:
        for _ in range(3):
            agent.observe_text(f"dear {OWN}")
        assert "quick" in suggested(agent, "the", "qui")
        assert agent.words("block", ["Quick", OWN, OWN]).changed == 2
        assert not {"quick", OWN} & {
            *suggested(agent, "the", "qu"),
            *suggested(agent, "dear"),
            *suggested(agent, "", "qiuck"),
        }
        agent.observe_text("a quick one")
        assert [word.word for word in agent.words("blocked").words] == ["quick", OWN]
        assert OWN not in [word.word for word in agent.words().words]
        assert agent.words("unblock", ["quick", OWN]).changed == 2
        assert "quick" in suggested(agent, "the", "qui")
        assert OWN in suggested(agent, "dear", "quil")
        with Agent.open(home.folder) as other:
            other.words("block", ["quick"])
        assert "quick" not in suggested(agent, "the", "qui")


def test_imported_words_complete_and_correct_at_once(home: AgentHome, tmp_path: Path) -> None:
    file = tmp_path / "words.txt"
    file.write_text("Zanzibar\t5\nquokka\nby the way\n#comment\n")
    assert json.loads(run(home, "words", "import", str(file), "--json")) == {
        "imported": 2,
        "private": 0,
        "left_out": 1,
    }
    with Agent.open(home.folder) as agent:
        assert "Zanzibar" in [each.word for each in agent.suggest("we go to", "zan")]
        assert "zanzibar" in suggested(agent, "we go to", "znazi")
        assert "quokka" in suggested(agent, "", "qu", 3)
        assert agent.words("import", ["hunter2xQ", "okapi"]).left_out == 1
        assert agent.words("forget", ["zanzibar"]).changed == 1
        assert suggested(agent, "we go to", "zanz") == []
    run(home, "words", "export", str(tmp_path / "out.txt"))
    assert (tmp_path / "out.txt").read_text().splitlines() == ["okapi\t1", "quokka\t1"]
    assert (tmp_path / "out.txt").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("plain.txt", "one\nTwo\t7\n\ntwo\t3\n", {"one": 1, "Two": 7}),
        ("bom.txt", "\ufeffone\r\ntwo\r\n", {"one": 1, "two": 1}),
        ("hunspell.dic", "3\nhello/MS\n*wrong\nnaïve\n", {"hello": 1, "naïve": 1}),
        ("standard.dic", "OOoUserDict1\nlang: <none>\ntype: positive\n---\nOkapi\nco=op==\n", {"Okapi": 1}),
        (
            "dictionary.txt",
            "# Gboard Dictionary version:1\nbtw\tby the way\ten-US\n\tOkapi\tde\n",
            {"Okapi": 1},
        ),
        ("combined.txt", "dictionary=main:en\n word=okapi,f=120,flags=\n", {"okapi": 120}),
        ("other.txt", "привет\nमैं\n", {"привет": 1, "मैं": 1}),
    ],
)
def test_personal_dictionaries_that_are_read(
    tmp_path: Path, name: str, content: str, words: dict[str, int]
) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8", newline="")
    read = read_personal_dictionary(tmp_path / name)
    assert {word.word: word.count for word in read.words} == words


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"one\ntw\xf6\n", "line 2: the byte f6 is not UTF-8 text"),
        (b"one\ntwo\x00\n", r"line 2: 'two\\x00' holds the control character '\\x00'"),
        (b"one\n\x1b[2J\n", "line 2: .* control character"),
        (b"one\n" + b"x" * 501, "line 2: 501 characters, beginning with 'xxxx"),
        (b"one\t99999999999\n", "line 1: the count 99999999999 is not 0 to"),
        (b"one\t-3\n", "line 1: the count -3 is not"),
        (b"one\ntwo\tthree\n", r"line 2: 'two\\tthree' is neither a word"),
        (b"\n\n", "holds no word"),
        (b"by the way\n", "holds no word"),
        (b"".join(b"w%dx\n" % number for number in range(50_002)), "more than 50000 words"),
        (b"one\n" * 2_100_000, "more than 8388608 bytes"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_dictionary_that_is_none_is_refused_whole(tmp_path: Path, content: bytes, problem: str) -> None:
    (tmp_path / "bad.txt").write_bytes(content)
    with pytest.raises(DictionaryProblem, match=problem):
        read_personal_dictionary(tmp_path / "bad.txt")
    with pytest.raises(DictionaryProblem, match="cannot be read"):
        read_personal_dictionary(tmp_path)


def test_too_many_words_are_refused_together(home: AgentHome, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedstill_client.store.words.IMPORTED_LIMIT", 2)
    with Agent.open(home.folder) as agent:
        agent.words("import", ["one"])
        refused: list[list[OwnWord | str]] = [
            ["aa", "bb"],
            ["aa", "two words"],
            ["aa", ""],
            ["aa", OwnWord("bb", -1)],
            ["aa", "!"],
        ]
        for words in refused:
            with pytest.raises(InvalidValue, match="words"):
                agent.words("import", words)
        assert [word.word for word in agent.words("export").words] == ["one"]
        with pytest.raises(InvalidValue, match="none; name those to block"):
            agent.words("block")
    with pytest.raises(FedstillError, match="cannot be written"):
        write_personal_dictionary(home.folder / "no" / "such", ())


def test_through_the_socket() -> None:
    with short_home() as made:
        home = keyboard_home(made.folder)
        with (
            serving_lock(home) as address,
            Agent.open(home.folder) as agent,
            running(agent, address, home.socket, threading.Event()),
            AgentClient(home.folder) as client,
        ):
            kept = client.observe_text("dear quillfeather, my pin is 4821")
            assert (kept, kept.left_out) == (1, 1)
            assert client.observe_text("dear zebra", learn=False) == 0
            assert client.words() == agent.words()
            assert client.words("import", [OwnWord("Okapi", 9)]).changed == 1
            assert "okapi" in suggested(client, "", "oka")
            assert suggested(client, "", "oka", 3) != [
                each.word for each in client.suggest("", "oka", private=True)
            ]
            assert client.words("block", ["the"]).changed == 1
            assert "the" not in suggested(client)
            assert client.words("forget", [OWN]).texts == 1
            with pytest.raises(AgentRefused, match=r"words\[0\]: 'a b' is not one word"):
                client.words("forget", ["a b"])
            assert "1 words are blocked no longer" in run(home, "words", "unblock", "the")
            assert "imported" in run(home, "words")
            assert json.loads(run(home, "observe-text", "pin 4821 ok", "--json")) == {
                "ids": [2],
                "left_out": 1,
            }
            assert json.loads(run(home, "observe-text", "hello", "--private", "--json"))["ids"] == []
            assert (
                json.loads(run(home, "suggest", "--prefix", "oka", "--private", "--json"))["suggestions"]
                == []
            )
