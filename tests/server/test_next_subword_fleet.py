"""Fleets of next sub-words for causal models of Hugging Face: rows, draws, and what tasks carry."""

from __future__ import annotations

import numpy as np
import pytest
from fedstill_proto.codec.api import decode_task, encode_task
from fedstill_proto.errors import FedstillError
from fedstill_proto.messages import PublicSoftLabels
from fedstill_proto.soft_labels.label_arrays import TopKSoftLabels
from fedstill_proto.subwords.packed import packed_rows
from fedstill_server.config.run_options import RunOptions
from fedstill_server.families import FAMILIES
from fedstill_server.fleet.preparing import facts_of
from fedstill_server.methods import build_method
from fedstill_server.methods.artifact_options import artifact_options
from fedstill_server.resolve import resolve
from fedstill_server.rounds.preparation import prepare
from fedstill_server.tasks import TASKS, task_for
from fedstill_server.tasks.interface import FleetFiles, Material

from tests.server.hub_models import SIZE, configuration, save_tokenizer

transformers = pytest.importorskip("transformers", reason="models of Hugging Face need fedstill[server]")

CODEC = "topk4,drawn4"


def test_texts_are_packed_behind_separators() -> None:
    x, y = packed_rows([[5, 6, 7], [8]], separator=0, places=2)
    assert x.tolist() == [[0, 5], [6, 7]]
    assert y.tolist() == [[5, 6], [7, 0]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Material:
    folder = tmp_path_factory.mktemp("texts")
    model = transformers.AutoModelForCausalLM.from_config(
        configuration("gpt2", layers=1, n_embd=8, n_head=1, n_positions=16, eos_token_id=0)
    )
    model.save_pretrained(folder / "gpt")
    save_tokenizer(folder / "gpt")
    (folder / "public.txt").write_text("the red cat runs here\nthe blue dog sleeps there\n" * 12)
    families = tuple(FAMILIES.named([f"gpt=hf:{folder / 'gpt'}"]))
    assert task_for(families) == "next-subwords"
    task = TASKS.load("next-subwords")(places=8, public_rows=6)
    return task.read(FleetFiles(public=folder / "public.txt", families=families, folder=folder))


def test_a_round_tells_drawn_tails_of_sub_words(made: Material) -> None:
    assert (made.classes, made.public.x.shape, made.public.x.dtype) == (SIZE, (6, 8), np.int64)
    assert made.teaching is not None
    assert len(made.teaching) == 17  # 24 texts of five sub-words, each behind a separator, in rows of eight
    families = ("gpt",)
    asked = RunOptions(families=families, rounds=1, uplink=CODEC, downlink=CODEC)
    config = resolve(asked, facts_of("0123abcd", families, made))
    assert config.method.name == "next-words"
    options = artifact_options(config, "gpt")
    assert (options.soft_labels, options.k) == ("top-k", 8)  # the graph's named classes: kept and drawn
    method = build_method(config, made.public)
    state = prepare(config, made.public, method, teaching=made.teaching)
    task = method.task(state, round_number=1, family="gpt", newcomer=True)
    told = decode_task(encode_task(task, codec=config.downlink)).soft_targets
    assert isinstance(told, PublicSoftLabels)
    assert isinstance(told.soft_labels, TopKSoftLabels)
    assert told.soft_labels.probabilities.shape == (6 * 8, 8)
    np.testing.assert_allclose(told.soft_labels.probabilities.sum(axis=1), 1, atol=1e-5)


def test_soft_labels_travel_with_drawn_tails_where_nobody_says(made: Material) -> None:
    with pytest.raises(FedstillError, match="top-k, or levels with a k, of fewer words"):
        # Of 17 sub-words there are no 16 to keep and 16 to draw.
        resolve(RunOptions(families=("gpt",)), facts_of("0123abcd", ("gpt",), made))
