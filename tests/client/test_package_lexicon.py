"""A package with a lexicon, and one of before there were any: written, read, checked, installed, used."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fedstill_client.agent.agent import Agent
from fedstill_client.home import AgentHome
from fedstill_client.packages.errors import PackageError
from fedstill_client.packages.install import install
from fedstill_client.packages.operators import check_package
from fedstill_client.store import PrivateStore
from fedstill_proto.package.artifact import StudentPackage, load_student, save_package
from fedstill_proto.text.lexicon import NEVER, Lexicon

from tests.client.keyboard_samples import WORD_LIST, keyboard_package

DICTIONARY = ("zebra", "zeppelin", "zinc")


def lexicon() -> Lexicon:
    frequency = np.full(len(WORD_LIST) + len(DICTIONARY), NEVER)
    for number, word in WORD_LIST.words:
        frequency[number] = NEVER if len(word) == 1 else -5.0
    frequency[len(WORD_LIST) :] = [-6.0, -7.0, -8.0]
    return Lexicon(("en",), DICTIONARY, frequency.astype(np.float16), attribution="wordfreq, CC BY-SA 4.0")


def package_with(content: bytes | None) -> StudentPackage:
    return replace(keyboard_package(), lexicon=content)


@pytest.mark.parametrize("content", [lexicon().to_bytes(), None], ids=["lexicon", "none"])
def test_it_is_written_and_read(tmp_path: Path, content: bytes | None) -> None:
    save_package(tmp_path / "package", package_with(content))

    read = load_student(tmp_path / "package")

    assert read.lexicon == content
    assert (tmp_path / "package" / "lexicon.safetensors").exists() == (content is not None)
    check_package(read)


@pytest.mark.parametrize("content", [b"", b"x" * 50, lexicon().to_bytes()[:-1]])
def test_a_damaged_one_is_refused_before_it_is_installed(content: bytes) -> None:
    with pytest.raises(PackageError, match=r"lexicon\.safetensors"):
        check_package(package_with(content))


@pytest.mark.parametrize("content", [lexicon().to_bytes(), None], ids=["lexicon", "none"])
def test_an_agent_completes_words_of_the_dictionary(tmp_path: Path, content: bytes | None) -> None:
    home = AgentHome(tmp_path / "home")
    home.create()
    home.description.write_text(json.dumps({"name": "phone", "family": "bigram"}))
    with PrivateStore.create(home) as store:
        install(home, store, package_with(content))

    with Agent.open(home.folder) as agent:
        completed = [each.word for each in agent.suggest("we meet a", "ze")]
        agent.observe_text("we meet a zeppelin")
        agent.observe_text("another zeppelin and a zeppelin")
        typed = agent.suggest("we meet a", "ze")
        alone = {each.word for letter in "abcdefg" for each in agent.suggest("we meet", letter)}

    assert completed == (["zebra", "zeppelin"] if content else [])
    assert typed[0].word == "zeppelin"
    assert not {letter for letter in alone if len(letter) == 1} - {"a"}
