"""Text as sub-words: rows by a tokenizer that is made here, and a causal model that teaches a state space."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fedstill_client.generation.sampling import Sampling
from fedstill_client.generation.writing import TextWriter
from fedstill_proto.package.artifact import load_student
from fedstill_proto.package.subword_texts import SubwordTexts
from fedstill_server.distill.errors import DistillError
from fedstill_server.distill.next_subwords import made_tokenizer, next_subwords
from fedstill_server.distill.request import read_request
from fedstill_server.distill.run import distil

transformers = pytest.importorskip("transformers")
pytest.importorskip("tokenizers")

TEXTS = [f"{who} {does} the {what}." for who in ("anna", "bob", "a cat") for does in ("sees", "finds")
         for what in ("ball", "house", "old tree")]  # fmt: skip


def text_file(folder: Path) -> Path:
    path = folder / "texts.txt"
    path.write_text("\n".join(TEXTS * 4))
    return path


def test_rows_are_texts_one_after_another(tmp_path: Path) -> None:
    tokenizer = made_tokenizer(TEXTS, size=290)
    task = next_subwords(str(text_file(tmp_path)), tokenizer, size=290, places=7)

    whole = [*task.public.x.reshape(-1), int(task.public.y[-1, -1])]  # type: ignore[index]

    assert whole[0] == 0  # <|endoftext|> before each text
    assert 1 not in whole  # no padding
    np.testing.assert_array_equal(task.public.y.reshape(-1), whole[1:])  # type: ignore[union-attr]
    first = whole[1 : whole.index(0, 1)]
    assert task.files.subwords is not None
    assert task.files.tokenizer is not None

    assert SubwordTexts(task.files.tokenizer, pad=1, size=290).text(first) == TEXTS[0]
    assert made_tokenizer(TEXTS, size=290).content == tokenizer.content
    with pytest.raises(DistillError, match="fewer than 501 sub-words"):
        next_subwords(str(text_file(tmp_path)), tokenizer, size=290, places=500)


def test_a_causal_model_teaches_a_state_space_its_next_sub_words(tmp_path: Path) -> None:
    tokenizer = made_tokenizer(TEXTS, size=290)
    config = transformers.GPT2Config(
        vocab_size=290, n_positions=16, n_embd=16, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0,
        pad_token_id=1,
    )  # fmt: skip
    transformers.GPT2LMHeadModel(config).save_pretrained(tmp_path / "gpt2")
    (tmp_path / "gpt2" / "tokenizer.json").write_bytes(tokenizer.content)
    asked = {
        "task": str(text_file(tmp_path)), "teacher": [f"hf:{tmp_path / 'gpt2'}"], "family": "ssm-8-12-2",
        "technique": ["kd", "hidden-states"], "places": 8, "plan.epochs": 25, "plan.soft_weight": 0.1,
    }  # fmt: skip

    outcome = distil(read_request(None, asked), tmp_path / "out")

    package = load_student(outcome.package)
    assert outcome.perplexity is not None
    assert outcome.perplexity < 0.8 * 290
    assert package.manifest.subwords is not None
    assert package.manifest.subwords.answer == "next-token"
    writer = TextWriter.of(package)
    assert writer.write("anna", tokens=9, sampling=Sampling(seed=1)).numbers
    for changes, message in (
        ({"tokenizer": "train:280"}, "another tokenizer"),
        ({"task": "digits", "teacher": [], "tokenizer": "train:280"}, "is no text"),
    ):
        with pytest.raises(DistillError, match=message):
            distil(read_request(None, {**asked, **changes}), tmp_path / "other")
