"""Fleets of texts with labels for models of Hugging Face, on the server: what files come to, and a round."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fedstill_proto.errors import FedstillError
from fedstill_server.config.run_options import RunOptions
from fedstill_server.families import FAMILIES
from fedstill_server.fleet.preparing import facts_of
from fedstill_server.methods import build_method
from fedstill_server.resolve import resolve
from fedstill_server.rounds.preparation import prepare
from fedstill_server.tasks import TASKS, task_for
from fedstill_server.tasks.interface import FleetFiles, Material

from tests.server.hub_models import WORDS
from tests.server.labelled_texts import colours_table, tiny_model

pytest.importorskip("transformers", reason="models of Hugging Face need fedstill[server]")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("texts")
    tiny_model(made / "tiny")
    colours_table(made / "public.csv", 24)
    colours_table(made / "test.tsv", 12, seed=1, separator="\t")
    return made


def read(folder: Path, *families: str, public: str = "public.csv", **options: object) -> Material:
    names = tuple(FAMILIES.named(families or (f"tiny=hf:{folder / 'tiny'}+lora:2",)))
    task = TASKS.load(task_for(names))(**options)
    test = folder / "test.tsv"
    return task.read(FleetFiles(public=folder / public, test=test, families=names, folder=folder))


def test_a_table_of_texts_becomes_rows_of_sub_words(folder: Path) -> None:
    made = read(folder)
    # [CLS] the red cat runs [SEP], and padding up to eight places
    assert made.public.x.shape == (24, 8)
    assert made.public.x.dtype == np.float32
    assert set(made.public.x[:, 0]) == {2}
    assert set(made.public.x[:, 6]) == {0}
    assert (made.classes, made.class_names) == (2, ("cold", "warm"))
    assert made.test is not None
    assert len(made.test) == 12
    assert made.input_rule.changes_nothing
    assert read(folder, places=6).public.x.shape == (24, 6)


def test_the_fleet_is_prepared_with_what_of_the_family_trains(folder: Path) -> None:
    made = read(folder)
    families = ("tiny",)
    asked = RunOptions(families=families, rounds=1, method_options={"start_epochs": 1})
    config = resolve(asked, facts_of("0123abcd", families, made))
    assert config.task.name == "subwords"
    method = build_method(config, made.public)
    state = prepare(config, made.public, method)
    assert set(state.teacher) == set(state.students["tiny"])
    assert all(".down." in name or ".up." in name or "output" in name for name in state.students["tiny"])
    task = method.task(state, round_number=1, family="tiny", newcomer=True)
    # What goes down is soft labels of public rows: no weight, and no text.
    assert task.soft_targets is not None
    assert not task.parameters


def test_packages_carry_the_tokenizer(folder: Path, tmp_path: Path) -> None:
    made = read(folder)
    families = ("tiny",)
    config = resolve(RunOptions(families=families, rounds=1), facts_of("0123abcd", families, made))
    for name, content in made.files.items():
        (tmp_path / name).write_bytes(content)
    files = made.task.package_files(tmp_path, config, "tiny", {}, None)
    assert files.tokenizer == made.files["tokenizer.json"]
    assert files.subwords is not None
    assert (files.subwords.places, files.subwords.pad, files.subwords.answer) == (8, 0, "classes")
    with pytest.raises(FedstillError, match=r"tokenizer\.json: cannot be read"):
        made.task.package_files(tmp_path / "nowhere", config, "tiny", {}, None)


def test_what_no_fleet_can_be_made_of_is_named(folder: Path) -> None:
    tiny_model(folder / "other", words=WORDS[::-1])
    (folder / "empty.csv").write_text("text,label\n the film was good ,good\n,bad\n")
    (folder / "unclear.csv").write_text("title,body,label\na,b,good\nc,d,bad\n")
    (folder / "notes.txt").write_text("the film was good\n")
    tiny, other = f"tiny=hf:{folder / 'tiny'}", f"other=hf:{folder / 'other'}"
    with pytest.raises(FedstillError, match="'other' has another tokenizer than 'tiny'"):
        read(folder, tiny, other)
    with pytest.raises(FedstillError, match="line 3: column 'text' is empty"):
        read(folder, tiny, public="empty.csv")
    with pytest.raises(FedstillError, match="which column holds the texts"):
        read(folder, tiny, public="unclear.csv")
    with pytest.raises(FedstillError, match="is no table of texts"):
        read(folder, tiny, public="notes.txt")
    with pytest.raises(FedstillError, match="places: 9; the families read 8"):
        read(folder, tiny, places=9)
