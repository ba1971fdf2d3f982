"""Packages of small students that read sub-words, whose answers a person can count."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path

import numpy as np
import tokenizers
import torch
from fedstill_client.home import AgentHome
from fedstill_client.packages.install import install
from fedstill_client.store import PrivateStore
from fedstill_proto.messages import Optimizer
from fedstill_proto.package.artifact import StudentPackage
from fedstill_proto.package.subwords import Subwords
from fedstill_proto.subwords.reader import SubwordReader
from fedstill_server.export import ArtifactOptions
from fedstill_server.export.student import export_student
from fedstill_server.families import initial_parameters
from fedstill_server.publish.package import package_of
from fedstill_server.tasks.interface import PackageFiles
from torch import Tensor, nn

import fedstill as fs
from fedstill.chosen import family_of_student
from tests.client.subword_samples import PAD, SPECIAL, tokenizer_file

WORDS = ("milk", "bread", "eggs", "butter", "key", "stone", "garden", "gate", "the", "is", "under")
PLACES, SIZE = 10, len(SPECIAL) + len(WORDS)
CLASSES = ("food", "place")


class WordBag(nn.Module):
    """The mean of the rows of a table that a text's sub-words have, and a linear layer on it."""

    def __init__(self, input_shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.table = nn.Embedding(SIZE, SIZE)
        self.output = nn.Linear(SIZE, classes)

    def forward(self, x: Tensor) -> Tensor:
        numbers = x.long()
        there = (numbers != PAD).to(torch.float32)[..., None]
        mean = (self.table(numbers) * there).sum(1) / there.sum(1).clamp(min=1)
        answer: Tensor = self.output(mean)
        return answer


FAMILY = "word-bag"
family_of_student(fs.Student(WordBag, name=FAMILY))


@functools.cache
def embedding_package(version: int = 1, *, words: tuple[str, ...] = WORDS) -> StudentPackage:
    """A student whose vector of a text counts its words, each in a place of its own; it learns nothing."""
    table = np.eye(SIZE, dtype=np.float32)
    table[: len(SPECIAL)] = 0
    weights = {
        "table.weight": table,
        "output.weight": np.eye(SIZE, dtype=np.float32),
        "output.bias": np.zeros(SIZE, np.float32),
    }
    manifest, graph = export_student(family=FAMILY, input_shape=(PLACES,), classes=SIZE, parameters=weights)
    manifest = replace(manifest, package_version=version, subwords=_subwords("embedding"))
    return StudentPackage(manifest, graph, weights, tokenizer=tokenizer_file(words))


@functools.cache
def classifier_package(*, sure: float = 2.0) -> StudentPackage:
    """A student that takes half of the first eight words for food, and the others for a place."""
    table = np.zeros((SIZE, SIZE), np.float32)
    table[len(SPECIAL) : len(SPECIAL) + 4, 0] = 10
    table[len(SPECIAL) + 4 : len(SPECIAL) + 8, 1] = 10
    head = np.zeros((2, SIZE), np.float32)
    head[0, 0] = head[1, 1] = sure
    weights = {"table.weight": table, "output.weight": head, "output.bias": np.zeros(2, np.float32)}
    return replace(_trainable(), parameters=weights)


@functools.cache
def _trainable() -> StudentPackage:
    weights = initial_parameters(FAMILY, (PLACES,), 2, 0)
    options = ArtifactOptions(
        family=FAMILY,
        input_shape=(PLACES,),
        classes=2,
        optimizer=Optimizer.ADAMW,
        soft_labels="dense",
        stack_size=1,
        step_rows=8,
    )
    public = SubwordReader(tokenizer_file(WORDS), places=PLACES, pad=PAD).rows(
        [" ".join(WORDS[start:]) for start in range(6)]
    )
    files = PackageFiles(tokenizer=tokenizer_file(WORDS), subwords=_subwords("classes"))
    package = package_of(options, weights, package_version=1, public_x=public, files=files)
    return replace(package, manifest=replace(package.manifest, parts=(), class_names=CLASSES))


def _subwords(answer: str) -> Subwords:
    return Subwords(places=PLACES, pad=PAD, size=SIZE, library=tokenizers.__version__, answer=answer)


def home_of(folder: Path, package: StudentPackage) -> AgentHome:
    """A home with this package."""
    home = AgentHome(folder)
    home.create()
    home.description.write_text(f'{{"name": "kitchen", "family": "{FAMILY}", "owner_share": 0.0}}')
    with PrivateStore.create(home) as store:
        install(home, store, package)
    return home
