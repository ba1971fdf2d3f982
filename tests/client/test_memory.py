"""A memory: what is kept, what is nearest, what labels say, and what is forgotten."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from fedstill_client.home import AgentHome
from fedstill_client.memory.nearest import Mixture, fitted_mixture, nearest, votes
from fedstill_client.memory.passages import passages
from fedstill_client.memory_types import KeptMemory
from fedstill_client.store import MemoryLimits, PrivateStore
from fedstill_proto.errors import InvalidValue

SECRET = "the spare key is under the seventh stone"
EAST, NORTH = np.array([1, 0], np.float32), np.array([0, 1], np.float32)
BETWEEN = np.array([0.6, 0.8], np.float32)


@pytest.fixture
def home(tmp_path: Path) -> AgentHome:
    return AgentHome(tmp_path / "home")


def kept(text: str, *, source: str = "", at: float = 1.0) -> KeptMemory:
    return KeptMemory(0, text, source=source, kept_at=at)


def everything_in(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file())


# The private store


def test_memories_survive_a_restart_and_have_ids_of_their_own(home: AgentHome) -> None:
    with PrivateStore.create(home) as store:
        store.observe(np.zeros(2, np.float32), 0)
        assert store.memories.count() == (0, 0)
        ids = store.memories.add([kept(SECRET, source="notes"), kept("milk")], np.stack([EAST, NORTH]), "e1")
    with PrivateStore.open(home) as store:
        read = store.memories.read()
        assert ids == (1, 2) == tuple(one.id for one in read.memories)
        assert read.memories[0] == KeptMemory(1, SECRET, "", "notes", 1.0)
        np.testing.assert_array_equal(read.vectors, [EAST, NORTH])
        # Of each its characters, its source and 8 bytes of its vector.
        assert store.memories.count() == (2, len(SECRET) + len("notes") + len("milk") + 16)
        assert store.forget(ids=[1]).examples == 1  # an example of this id, and no memory
        assert store.memories.count()[0] == 2


def test_forgetting_leaves_no_byte_behind(home: AgentHome) -> None:
    with PrivateStore.create(home) as store:
        ids = store.memories.add([kept(SECRET), kept("milk")], np.stack([BETWEEN, NORTH]), "e1")
        assert SECRET.encode() in everything_in(home.folder)
        assert store.memories.forget(ids=ids[:1]) == 1
        assert [one.text for one in store.memories.read().memories] == ["milk"]
        left = everything_in(home.folder)
        assert SECRET.encode() not in left
        assert BETWEEN.tobytes() not in left
        assert store.memories.add([kept("tea")], EAST[None], "e1") == (3,)  # no id is given twice


def test_what_is_forgotten_with_all_examples_or_those_of_before_a_time(home: AgentHome) -> None:
    with PrivateStore.create(home) as store:
        for at in (1.0, 2.0, 3.0):
            store.memories.add([kept(f"{SECRET} {at}", source="a", at=at)], EAST[None], "e1")
        store.forget(before=2.5)
        assert [one.kept_at for one in store.memories.read().memories] == [3.0]
        store.memories.add([kept("other", source="b")], EAST[None], "e1")
        assert store.memories.forget(source="b") == 1
        store.forget(everything=True)
        assert store.memories.count() == (0, 0)
        assert SECRET.encode() not in everything_in(home.folder)


def test_a_forgetting_that_was_cut_off_is_ended_by_whoever_opens_the_store(home: AgentHome) -> None:
    with PrivateStore.create(home) as store:
        store.memories.add([kept(SECRET), kept("milk")], np.stack([EAST, NORTH]), "e1")
        with store.transaction():
            store.memories.note_forgetting(before=None)  # and the power fails here
    with PrivateStore.open(home) as store:
        assert store.memories.count() == (0, 0)
    assert SECRET.encode() not in everything_in(home.folder)


def test_where_there_is_no_room_nothing_is_kept_and_nothing_goes(home: AgentHome) -> None:
    with PrivateStore.create(home) as store:
        store.memories.limits = MemoryLimits(most=2)
        store.memories.add([kept("a")], EAST[None], "e1")
        with pytest.raises(InvalidValue, match="3 of 27 bytes with those that are there; 2 of 67108864"):
            store.memories.add([kept("b"), kept("c")], np.stack([EAST, EAST]), "e1")
        assert store.memories.count() == (1, 9)
        store.memories.limits = MemoryLimits(max_bytes=9)
        with pytest.raises(InvalidValue, match="forget some first"):
            store.memories.add([kept("b")], EAST[None], "e1")


def test_an_encrypted_store_shows_no_memory(home: AgentHome) -> None:
    pytest.importorskip("sqlcipher3", reason="the extra [encrypted] is not installed")
    with PrivateStore.create(home, encryption="key-file") as store:
        store.memories.add([kept(SECRET)], EAST[None], "e1")
        assert SECRET.encode() not in everything_in(home.folder)
        assert store.memories.read().memories[0].text == SECRET


# What is nearest, and what it says


def test_the_nearest_by_hand() -> None:
    places, cosines = nearest(np.stack([EAST, NORTH, BETWEEN, NORTH]), NORTH[None], 3)
    assert places.tolist() == [[1, 3, 2]]  # of equal ones, the first
    np.testing.assert_allclose(cosines, [[1.0, 1.0, 0.8]], rtol=1e-6)
    assert nearest(np.zeros((0, 1), np.float32), NORTH[None], 3)[0].shape == (1, 0)


def test_the_nearest_are_those_of_all_pairs() -> None:
    random = np.random.default_rng(0)
    vectors = random.normal(size=(300, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    places, cosines = nearest(vectors, vectors[:20], 5)
    for row in range(20):
        exact = sorted(range(300), key=lambda place: -float(vectors[place] @ vectors[row]))[:5]
        assert set(places[row].tolist()) == set(exact)
    assert (np.diff(cosines, axis=1) <= 0).all()


def test_votes_by_hand() -> None:
    # exp(1 / 0.5) for class 0; exp(0.5 / 0.5) twice for class 2: e^2 against 2 e.
    said = votes(np.array([[1.0, 0.5, 0.5]], np.float32), np.array([[0, 2, 2]]), classes=3, temperature=0.5)
    share = math.e / (math.e + 2)
    np.testing.assert_allclose(said, [[share, 0, 1 - share]], rtol=1e-6)
    mixed = Mixture(share=0.25).of(np.array([[0.2, 0.8, 0.0]], np.float32), said)
    np.testing.assert_allclose(mixed, [[0.25 * share + 0.15, 0.6, 0.25 * (1 - share)]], rtol=1e-6)


def test_without_neighbours_the_student_answers_alone() -> None:
    nothing = votes(np.zeros((1, 0), np.float32), np.zeros((1, 0), np.int64), classes=2, temperature=0.1)
    student = np.array([[0.3, 0.7]], np.float32)
    np.testing.assert_array_equal(Mixture().of(student, nothing), student)


def test_the_share_is_what_suits_the_owners_memories() -> None:
    vectors = np.repeat(np.stack([EAST, NORTH]), 10, axis=0)
    labels = np.repeat([0, 1], 10)
    ignorant = np.full((20, 2), 0.5, np.float32)
    knowing = np.eye(2, dtype=np.float32)[labels] * 0.98 + 0.01
    assert fitted_mixture(vectors, labels, ignorant).share == 0.85  # as much as may be
    shuffled = np.random.default_rng(1).permutation(labels)  # the nearest say nothing of the label
    assert fitted_mixture(vectors, shuffled, np.eye(2, dtype=np.float32)[shuffled] * 0.98 + 0.01).share == 0.0
    assert fitted_mixture(vectors[:5], labels[:5], knowing[:5]) == Mixture()  # too few to say


# Documents


def test_a_document_is_cut_into_passages_that_fit() -> None:
    document = "One two. Three four five.\nSix\n\nSeven eight nine ten eleven twelve."
    assert passages(document, lambda text: len(text.split()) <= 5) == [
        "One two. Three four five.",
        "Six",
        "Seven eight nine ten eleven",
        "twelve.",
    ]
    assert passages(" \n\n ", lambda text: True) == []
