"""Causal models of Hugging Face a sub-word at a time: keys and values as inputs and outputs of a graph."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fedstill_client.generation.checked_text import BlockText
from fedstill_client.generation.sampling import Sampling
from fedstill_client.generation.writing import TextWriter
from fedstill_client.model.streaming import WordStream
from fedstill_proto.package.artifact import StudentPackage, load_student, save_package
from fedstill_proto.package.subwords import NEXT_TOKEN
from fedstill_server.export.streaming import export_step
from fedstill_server.export.student import export_student
from fedstill_server.families import FAMILIES, build_student, initial_parameters
from fedstill_server.hugging_face.tokenizer import SubwordTokenizer
from fedstill_server.publish.text import as_text_package

transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")

PLACES = 200
TEXTS = ["the cat sat on the mat.", "a dog sat on a cat.", "the dog and the mat."]


def tokenizer_file(folder: Path) -> SubwordTokenizer:
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    special = ["<|endoftext|>", "<pad>"]
    made.train_from_iterator(TEXTS * 9, tokenizers.trainers.BpeTrainer(vocab_size=60, special_tokens=special))
    made.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text('{"pad_token": "<pad>"}')
    found = SubwordTokenizer.of_folder(folder)
    assert found is not None
    return found


def gpt2(size: int) -> Any:
    config = transformers.GPT2Config(vocab_size=size, n_positions=PLACES, n_embd=16, n_layer=1, n_head=2)
    return transformers.GPT2LMHeadModel(config)


def llama(size: int) -> Any:
    """Two heads of keys and values for four of queries, places by rotation, and a table of its own behind."""
    config = transformers.LlamaConfig(
        vocab_size=size, hidden_size=16, intermediate_size=24, num_hidden_layers=1,
        num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=False,
    )  # fmt: skip
    return transformers.LlamaForCausalLM(config)


@pytest.mark.parametrize("model", [gpt2, llama])
def test_a_package_says_a_sub_word_at_a_time_what_torch_says_of_200(
    model: Callable[[int], Any], tmp_path: Path
) -> None:
    tokenizer = tokenizer_file(tmp_path)
    size = tokenizer.size
    torch.manual_seed(0)
    made = model(size)
    made.config.bos_token_id, made.config.eos_token_id, made.config.pad_token_id = 0, 0, tokenizer.pad
    made.save_pretrained(tmp_path)
    family = FAMILIES.named_one(f"{model.__name__}=hf:{tmp_path}")
    parameters = initial_parameters(family, (PLACES,), size, 0)
    manifest, graph = export_student(
        family=family, input_shape=(PLACES,), classes=size, parameters=parameters
    )
    packed, subwords = tokenizer.packaged(places=PLACES, size=size, answer=NEXT_TOKEN)
    described = dataclasses.replace(manifest, subwords=subwords)
    save_package(
        tmp_path / "student", as_text_package(StudentPackage(described, graph, parameters, tokenizer=packed))
    )

    package = load_student(tmp_path / "student")

    stream = WordStream(package, package.parameters)
    assert (stream.places, [port.name for port in package.manifest.streaming.state]) == (  # type: ignore[union-attr]
        PLACES, ["keys", "values", "next_place"],
    )  # fmt: skip
    words = np.random.default_rng(0).integers(0, size, PLACES)
    said, state = [], stream.start()
    for word in words:
        logits, state = stream.step(int(word), state)
        said.append(logits)
    student = build_student(family, (PLACES,), size).eval()
    expected = student(torch.from_numpy(words)[None])[0].detach().numpy()
    np.testing.assert_allclose(np.stack(said), expected, rtol=1e-4, atol=1e-5)
    blocks, at = BlockText(stream), 0
    for length in (1, 90, 9, 100):  # the same, several in a run
        block = [int(word) for word in words[at : at + length]]
        np.testing.assert_allclose(blocks.along(block), expected[at : at + length], rtol=1e-4, atol=1e-5)
        at += length
    writer = TextWriter.of(package)
    written = writer.write("the cat", tokens=12, sampling=Sampling(seed=1))
    assert written == writer.write("the cat", tokens=12, sampling=Sampling(seed=1))
    assert tokenizer.pad not in written.numbers


def test_a_model_whose_attention_forgets_has_no_graph_of_a_word(tmp_path: Path) -> None:
    config = transformers.MistralConfig(
        vocab_size=40, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, sliding_window=4, pad_token_id=1,
    )  # fmt: skip
    transformers.MistralForCausalLM(config).save_pretrained(tmp_path)
    family = FAMILIES.named_one(f"mistral=hf:{tmp_path}")
    parameters = initial_parameters(family, (6,), 40, 0)
    assert export_step(family=family, input_shape=(6,), classes=40, parameters=parameters) is None
