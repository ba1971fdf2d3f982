"""Distillation of models of Hugging Face: layers found by configuration, padding that counts nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

transformers = pytest.importorskip("transformers", reason="the extra with Hugging Face is not installed")

from fedstill_server.distill.engine import EpochDone, train  # noqa: E402
from fedstill_server.distill.errors import DistillError  # noqa: E402
from fedstill_server.distill.job import UNKNOWN, DistillJob  # noqa: E402
from fedstill_server.distill.layers import parts_shown, watched  # noqa: E402
from fedstill_server.distill.plan import DistillPlan  # noqa: E402
from fedstill_server.distill.recipes.tinybert import TinyBert  # noqa: E402
from fedstill_server.distill.registry import TECHNIQUES  # noqa: E402
from fedstill_server.distill.stage_runner import StageRunner, network_of  # noqa: E402
from fedstill_server.distill.sub_words import cut, heard_places, order_by_length  # noqa: E402
from fedstill_server.distill.teachers import TorchTeacher  # noqa: E402
from fedstill_server.distill.technique import Technique  # noqa: E402
from fedstill_server.families import FAMILIES, build_student  # noqa: E402
from fedstill_server.hugging_face.initialization import chosen_layers  # noqa: E402
from fedstill_server.hugging_face.network import SentenceNetwork  # noqa: E402
from fedstill_server.losses import hidden_state_loss  # noqa: E402

WORDS, WIDTH, PLACES, PAD = 40, 8, 6, 0
SIZES: dict[str, dict[str, Any]] = {
    "bert": {"intermediate_size": 16, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0},
    "gpt2": {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0},
    "llama": {"intermediate_size": 16, "num_key_value_heads": 1},
}


def saved(folder: Path, kind: str, *, layers: int = 4) -> str:
    """A tiny random model of a kind in a folder; returns its place."""
    torch.manual_seed(layers)
    config = transformers.AutoConfig.for_model(
        kind,
        vocab_size=WORDS,
        hidden_size=WIDTH,
        num_hidden_layers=layers,
        num_attention_heads=2,
        max_position_embeddings=16,
        pad_token_id=PAD,
        bos_token_id=1,
        eos_token_id=2,
        **SIZES[kind],
    )
    transformers.AutoModel.from_config(config).save_pretrained(folder)
    return f"hf:{folder}"


def rows(count: int = 24, *, seed: int = 1) -> np.ndarray:
    """Texts of 2 to 6 sub-words [count, 6], float32."""
    random = np.random.default_rng(seed)
    x = random.integers(3, WORDS, (count, PLACES)).astype(np.float32)
    for row, length in zip(x, random.integers(2, PLACES + 1, count), strict=True):
        row[length:] = PAD
    return x


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> str:
    return saved(tmp_path_factory.mktemp("bert"), "bert")


def job(place: str, *techniques: Technique, **plan: Any) -> DistillJob:
    """A sentence model of 4 layers teaches one of 2."""
    teacher = build_student(FAMILIES.named_one(f"{place}?answer=embedding"), (PLACES,), WIDTH)
    family = FAMILIES.named_one(f"{place}?num_hidden_layers=2&answer=embedding")
    x = rows()
    values = {"epochs": 3, "batch_size": 8, "learning_rate": 1e-3, "online": True, "soft_weight": 1.0, **plan}
    return DistillJob(
        family=family,
        classes=WIDTH,
        x=x,
        labels=np.full(len(x), UNKNOWN, np.int64),
        plan=DistillPlan(**values),
        teacher=TorchTeacher(teacher),
        techniques=techniques,
    )


@pytest.mark.parametrize("kind", SIZES)
def test_parts_are_found_by_configuration(kind: str, tmp_path: Path) -> None:
    network = build_student(
        FAMILIES.named_one(f"{saved(tmp_path, kind)}?num_hidden_layers=3&answer=embedding"), (PLACES,), WIDTH
    )
    layers, attention = parts_shown(network, "layers"), parts_shown(network, "attention")
    assert len(layers) == len(attention) == 3
    assert len(parts_shown(network, "states")) == 4
    fused = kind == "gpt2"  # one layer makes queries, keys and values
    assert len(parts_shown(network, "projections")) == (0 if fused else 9)
    with watched(network, [*layers, *attention]) as seen:
        network(torch.from_numpy(rows(2)))
    assert all(seen[name].shape == (2, PLACES, WIDTH) for name in layers)
    assert all(seen[name].shape == (2, 2, PLACES, PLACES) for name in attention)


@pytest.mark.parametrize("name", ["embedding", "hidden-states", "minilm", "distilbert", "attention-matrices"])
def test_every_technique_comes_nearer_to_the_teacher(name: str, bert: str) -> None:
    options = {"heads": 2} if name == "minilm" else {}
    losses: list[float] = []
    asked = job(bert, TECHNIQUES.load(name)(**options), epochs=8, learning_rate=3e-3, by_length=True)
    train(asked, watch=lambda epoch: losses.append(epoch.loss))
    assert losses[-1] < 0.8 * losses[0]


def test_the_first_hidden_state_loss_is_that_of_whole_rows(bert: str) -> None:
    """One batch, cut and sorted or not: the loss is that of the untrained student, padding left out."""
    technique = TECHNIQUES.load("hidden-states")(layers="model.encoder.layer.1=model.encoder.layer.3")
    reports: dict[bool, EpochDone] = {}
    for by_length in (False, True):
        asked = job(bert, technique, epochs=1, batch_size=24, by_length=by_length)
        train(asked, watch=lambda done, by_length=by_length: reports.update({by_length: done}))  # type: ignore[misc]
    student = build_student(asked.family, (PLACES,), WIDTH)
    teacher = asked.teacher.network  # type: ignore[union-attr]
    x = torch.from_numpy(asked.x)
    with torch.no_grad(), watched(student, ["model.encoder.layer.1"]) as mine:
        student(x)
    with torch.no_grad(), watched(teacher, ["model.encoder.layer.3"]) as theirs:
        teacher(x)
    states = theirs["model.encoder.layer.3"]
    loss = hidden_state_loss(mine["model.encoder.layer.1"], states, mask=x != PAD)
    size = states[:2].square().mean()  # of the rows that techniques are shown, padding and all
    assert reports[False].loss == pytest.approx((loss / size).item(), rel=1e-4)
    assert reports[True].loss == pytest.approx(reports[False].loss, rel=1e-4)


def test_what_padding_holds_is_cut() -> None:
    """Lengths 2, 4, 3: the longest has 4 places; an empty row has one."""
    x = torch.tensor([[5.0, 6, 0, 0, 0], [5, 6, 7, 8, 0], [0, 0, 0, 0, 0]])
    network = SentenceNetwork(torch.nn.Identity(), pad=PAD)
    heard = heard_places(network, x)
    assert heard is not None
    assert heard.sum(1).tolist() == [2, 4, 1]
    assert cut(x, heard).shape == (3, 4)
    assert heard_places(torch.nn.Linear(5, 2), x) is None


def test_batches_are_of_like_length_and_hold_every_row() -> None:
    lengths = torch.arange(100) % 10
    random = torch.Generator().manual_seed(0)
    order = order_by_length(torch.randperm(100, generator=random), lengths, batch_size=8, random=random)
    assert sorted(order.tolist()) == list(range(100))
    spread = [int(lengths[part].max() - lengths[part].min()) for part in order[:96].split(8)]
    assert max(spread) <= 1


def test_two_stages(bert: str) -> None:
    """Embeddings alone see answers; the first stage brings hidden states near before that."""
    asked = job(bert, epochs=4)
    runner = StageRunner()
    made = TinyBert(first_epochs=2).run(asked, runner)
    assert runner.trainings == 2
    assert "first stage" in runner.notes[0]
    first = network_of(asked, made)
    assert set(dict(first.named_parameters())) == set(made.parameters)


def test_what_is_no_transformer_is_told(bert: str) -> None:
    asked = job(bert, TECHNIQUES.load("minilm")(heads=2))
    with pytest.raises(DistillError, match="the student shows no queries"):
        train(replace(asked, family="mlp-4"))
    with pytest.raises(DistillError, match="divide not both widths, 8 and 8"):
        train(replace(asked, techniques=(TECHNIQUES.load("minilm")(heads=3),)))
    with pytest.raises(DistillError, match="by_length: is for sub-words"):
        train(
            replace(
                asked,
                family="mlp-4",
                techniques=(TECHNIQUES.load("embedding")(),),
                plan=replace(asked.plan, by_length=True),
            )
        )


def test_layers_from_end_to_end_are_those_of_distilbert() -> None:
    assert chosen_layers(12, 6, choice="ends") == (0, 2, 4, 7, 9, 11)
    assert chosen_layers(6, 3, choice="ends") == (0, 3, 5)
    assert chosen_layers(6, 3) == (1, 3, 5)
    assert chosen_layers(6, 1, choice="ends") == (5,)
