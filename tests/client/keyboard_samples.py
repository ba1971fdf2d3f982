"""A keyboard's home: the bigram student of a few words, with its word list."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from fedstill_client.home import AgentHome
from fedstill_client.packages.install import install
from fedstill_client.store import PrivateStore
from fedstill_proto.package.artifact import StudentPackage
from fedstill_proto.text.vocabulary import WordList, build_word_list

from tests.client.bigram import bigram_package

PLACES = 6
PUBLIC = (
    "the quick brown fox jumps over the lazy dog, and the quick dog jumps over the lazy fox.",
    "we meet at the old house tonight; we meet at the new house tomorrow!",
    "will you quit the quest? you quit the question quietly, the quest is over.",
)
WORD_LIST: WordList = build_word_list(PUBLIC, size=120, least=1)


def keyboard_package(version: int = 1) -> StudentPackage:
    size = len(WORD_LIST)
    package = bigram_package(version=version, words=size, places=PLACES, step_size=60)
    return replace(package, vocabulary=WORD_LIST.to_json())


def keyboard_home(folder: Path) -> AgentHome:
    home = AgentHome(folder)
    home.create()
    home.description.write_text(json.dumps({"name": "phone", "family": "bigram"}))
    with PrivateStore.create(home) as store:
        install(home, store, keyboard_package())
    return home
