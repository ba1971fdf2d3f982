"""Tiny models as Hugging Face saves them, with random weights and a tokenizer of a few words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

WORDS = ("the", "a", "cat", "dog", "fox", "owl", "red", "blue", "black", "sleeps", "runs", "here", "there")
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
SIZE = len(SPECIAL) + len(WORDS)


def save_tokenizer(folder: Path, words: Sequence[str] = WORDS) -> None:
    """A tokenizer.json that knows these words, in this order, behind the special ones."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    numbers = {word: number for number, word in enumerate((*SPECIAL, *words))}
    tokenizer = Tokenizer(models.WordLevel(numbers, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(list(SPECIAL))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))


def configuration(kind: str, *, layers: int = 2, **fields: Any) -> Any:
    """Of a tiny model of an architecture."""
    import transformers

    usual = {
        "vocab_size": SIZE,
        "hidden_size": 16,
        "num_hidden_layers": layers,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": 48,
        "pad_token_id": 0,
    }
    own: dict[str, dict[str, Any]] = {
        "distilbert": {"dim": 16, "n_layers": layers, "n_heads": 2, "hidden_dim": 32},
        "electra": {**usual, "embedding_size": 8},
        "gpt2": {"n_embd": 16, "n_layer": layers, "n_head": 2, "n_positions": 48, "bos_token_id": 2},
        "llama": {**usual, "num_attention_heads": 4, "num_key_value_heads": 2},
    }
    given = own.get(kind, usual) | {"vocab_size": SIZE, "pad_token_id": 0} | fields
    return transformers.CONFIG_MAPPING[kind](**given)


def save_model(
    folder: Path,
    kind: str = "bert",
    *,
    labels: Sequence[str] = (),
    words: Sequence[str] = WORDS,
    **fields: Any,
) -> Path:
    """A folder with config.json, model.safetensors and tokenizer.json; with a head of `labels` if any."""
    import transformers

    config = configuration(kind, **fields)
    if labels:
        config.id2label = dict(enumerate(labels))
        config.label2id = {label: number for number, label in enumerate(labels)}
    make = transformers.AutoModelForSequenceClassification if labels else transformers.AutoModel
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = make.from_config(config)
        with torch.no_grad():
            for value in model.parameters():
                value.normal_(std=0.3)  # the usual weights are so small that all texts look alike
    model.save_pretrained(folder)
    save_tokenizer(folder, words)
    return folder
