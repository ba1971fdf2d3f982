"""Simulated fleets of texts with labels for models of Hugging Face: who has which rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fedstill_proto.errors import FedstillError
from fedstill_sim.config import requested_data, resolve
from fedstill_sim.request import RequestError, RunRequest

from tests.server.hub_models import SIZE, configuration, save_tokenizer
from tests.server.labelled_texts import colours_table, tiny_model

pytest.importorskip("transformers", reason="models of Hugging Face need fedstill[server]")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("texts")
    tiny_model(made / "tiny")
    return made


def asked(folder: Path, dataset: str, **changes: object) -> RunRequest:
    family = f"hf:{folder / 'tiny'}+lora:2"
    return RunRequest(dataset=dataset, families=(family,), rounds=2, **changes)  # type: ignore[arg-type]


def test_a_table_is_dealt_out_and_a_fifth_of_it_is_public(folder: Path) -> None:
    request = asked(folder, str(colours_table(folder / "reviews.csv", 100)), devices=4)
    assert (request.task_name, request.dataset) == ("subwords", None)
    data = requested_data(request)
    assert (data.devices, len(data.public_x), data.class_names) == (4, 20, ("cold", "warm"))
    assert data.public_x.shape[1:] == (8,)
    assert data.input_rule.changes_nothing
    owned = np.concatenate([*data.train, *data.test])
    assert len(owned) == len(set(owned.tolist()))
    config = resolve(request, data)
    assert config.fleet.task.options["tokenizer"] == "data/tokenizer.json"
    assert config.fleet.input_shape == (8,)


def test_a_table_for_each_device(folder: Path) -> None:
    fleet = folder / "fleet"
    fleet.mkdir()
    for name, rows in (("anna", 12), ("ben", 8), ("public", 10), ("test", 6)):
        colours_table(fleet / f"{name}.csv", rows, seed=rows)
    data = requested_data(RunRequest(data=str(fleet), families=(f"hf:{folder / 'tiny'}+lora:2",)))
    assert list(data.device_names) == ["anna", "ben"]
    assert (len(data.public_x), len(data.global_x)) == (10, 6)


def test_what_does_not_suit_is_refused(folder: Path) -> None:
    table = colours_table(folder / "more.csv", 30)
    with pytest.raises(FedstillError, match="of several tasks"):
        _ = RunRequest(data=str(table), families=(f"hf:{folder / 'tiny'}", "mlp-8"))
    with pytest.raises(RequestError, match="--engine"):
        asked(folder, str(table), engine="flower")


def test_writers_are_devices_of_next_sub_words(folder: Path) -> None:
    import transformers

    model = transformers.AutoModelForCausalLM.from_config(
        configuration("gpt2", layers=1, n_embd=8, n_head=1, n_positions=16, eos_token_id=0)
    )
    model.save_pretrained(folder / "gpt")
    save_tokenizer(folder / "gpt")
    writers = folder / "writers"
    writers.mkdir()
    for name in ("anna", "ben", "public"):
        (writers / f"{name}.txt").write_text("the red cat runs here\nthe blue dog sleeps there\n" * 20)
    request = RunRequest(data=str(writers), families=(f"hf:{folder / 'gpt'}",))
    assert (request.task_name, request.method) == ("next-subwords", "next-words")
    data = requested_data(request)
    assert (data.devices, data.classes, data.label_shape) == (2, SIZE, (16,))
    assert data.x.dtype == np.int64
    # 32 texts of five sub-words to learn from, each behind a separator: 191 pairs, in rows of 16.
    assert data.train.counts.tolist() == [11, 11]
