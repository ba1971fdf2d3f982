"""Opens a model of Hugging Face: safetensors alone, no code of the folder's, and nothing fetched."""

from __future__ import annotations

import inspect
import json
import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from fedstill_proto.package.subwords import CLASSES, EMBEDDING, NEXT_TOKEN
from torch import nn

from fedstill_server.hugging_face.configuration import (
    MOST_PARAMETERS,
    has_classifier,
    own_configuration,
    read_configuration,
    usual_answer,
)
from fedstill_server.hugging_face.errors import HubModelError
from fedstill_server.hugging_face.initialization import begin_as
from fedstill_server.hugging_face.network import (
    FIRST_PLACE,
    MEAN,
    NextTokenNetwork,
    SentenceClassifier,
    SentenceNetwork,
    SubwordClassifier,
    SubwordNetwork,
)
from fedstill_server.hugging_face.reference import NO_WEIGHTS, HubReference
from fedstill_server.hugging_face.tokenizer import SubwordTokenizer

_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
_PICKLED = ("pytorch_model.bin", "pytorch_model.bin.index.json", "tf_model.h5", "flax_model.msgpack")
_HEADS = ("classifier", "score", "pre_classifier", "pooler", "classification_head", "sequence_summary")
_DENSE = "a sentence model with a layer behind its pooling (Dense), which is not read; give one without"
_POOLINGS = {"pooling_mode_mean_tokens": MEAN, "pooling_mode_cls_token": FIRST_PLACE}


@dataclass(frozen=True, eq=False)
class OpenedModel:
    """A model that is open.

    Attributes:
        reference: Its place, and what of it was changed.
        network: Takes rows of sub-words [n, S].
        config: Its configuration, with the changes.
        tokenizer: What makes its rows of text; None where the folder has none.
        kind: What it says of a text: "classes", "embedding" or "next-token".
        classes: How many numbers an answer has.
        fresh: Whether its head, or all of it, begins anew: there are no weights for it.
    """

    reference: HubReference
    network: SubwordNetwork
    config: Any
    tokenizer: SubwordTokenizer | None
    kind: str
    classes: int
    fresh: bool

    @property
    def pad(self) -> int:
        """The number that stands for nothing."""
        return self.network.pad

    @property
    def width(self) -> int:
        """Of the last hidden states."""
        return int(self.config.hidden_size)

    @property
    def body(self) -> nn.Module:
        """The model as transformers made it."""
        return self.network.model


def open_model(
    reference: HubReference | str, *, answer: str = "", classes: int = 0, where: str = "model"
) -> OpenedModel:
    """Open a model.

    Args:
        reference: Where it lies.
        answer: What it is to say of a text, where the reference does not; "" is as its architecture does.
        classes: Of a head that begins anew where the model has none for so many; 0 is as it has them.
        where: What begins the text of an error.

    Raises:
        HubModelError: It cannot be opened; the text says what to do.
    """
    reference = HubReference.of(reference, where=where) if isinstance(reference, str) else reference
    folder = reference.folder(where=where)
    config = read_configuration(reference, folder)
    kind = reference.answer or answer or usual_answer(config)
    tokenizer = SubwordTokenizer.of_folder(folder, pad=_pad_of(config))
    if tokenizer is not None and tokenizer.size > config.vocab_size:
        raise HubModelError(
            f"{where}: {folder}: its tokenizer makes numbers to {tokenizer.size - 1}, and config.json says "
            f"vocab_size {config.vocab_size}: they are not of one model"
        )
    pad = tokenizer.pad if tokenizer is not None else _pad_of(config) or 0
    if config.pad_token_id is None:
        config.pad_token_id = pad
    model, fresh = _model(reference, folder, config, kind, classes)
    network, answers = _network(model, folder, config, kind, classes, pad)
    new_head = isinstance(network, SentenceClassifier)
    return OpenedModel(reference, network.eval(), config, tokenizer, kind, answers, fresh or new_head)


def _pad_of(config: Any) -> int | None:
    pad = config.pad_token_id
    return pad if isinstance(pad, int) and 0 <= pad < config.vocab_size else None


def _model(
    reference: HubReference, folder: Path, config: Any, kind: str, classes: int
) -> tuple[nn.Module, bool]:
    """The model as transformers makes it, and whether a part of it begins anew."""
    if not isinstance(getattr(config, "vocab_size", None), int):
        raise HubModelError(f"{folder}: a {config.model_type} reads no text")
    keeps_head = kind == CLASSES and has_classifier(config)
    if kind == CLASSES and classes and keeps_head:
        other_head, config.num_labels = config.num_labels != classes, classes
    else:
        other_head = False
    made = _made(folder, config, kind, keeps_head)
    if reference.weights == NO_WEIGHTS or not any((folder / name).is_file() for name in _WEIGHTS):
        _refuse_pickled(folder)
        return made(), True
    if not reference.fields:
        return _loaded(folder, config, made, other_head=other_head)
    own = own_configuration(folder)
    own.pad_token_id = config.pad_token_id
    own.num_labels = config.num_labels
    source, _ = _loaded(folder, own, _made(folder, own, kind, keeps_head), other_head=other_head)
    return begin_as(made(), source, choice=reference.weights), other_head


class _Made:
    """Makes a model of a configuration, or loads it."""

    def __init__(self, folder: Path, config: Any, cls: Any, options: dict[str, Any]) -> None:
        self.folder, self.config, self.cls, self.options = folder, config, cls, options

    def __call__(self) -> nn.Module:
        try:
            with quiet_transformers():
                made = self.cls._from_config(self.config, **self.options)
        except Exception as error:
            raise HubModelError(f"{self.folder}: no model can be made of it: {str(error)[:300]}") from None
        network: nn.Module = made.float()
        return _encoder_of(network, self.config)

    def load(self) -> tuple[nn.Module, Any]:
        try:
            with quiet_transformers():
                network, told = self.cls.from_pretrained(
                    self.folder,
                    config=self.config,
                    dtype=torch.float32,
                    local_files_only=True,
                    use_safetensors=True,
                    trust_remote_code=False,
                    output_loading_info=True,
                    ignore_mismatched_sizes=True,
                    **self.options,
                )
        except Exception as error:
            raise HubModelError(f"{self.folder}: its weights cannot be read: {str(error)[:300]}") from None
        return _encoder_of(network, self.config), told


def _made(folder: Path, config: Any, kind: str, keeps_head: bool) -> _Made:
    from transformers import (
        MODEL_FOR_CAUSAL_LM_MAPPING,
        MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
        MODEL_MAPPING,
    )

    mappings = {NEXT_TOKEN: MODEL_FOR_CAUSAL_LM_MAPPING, CLASSES: MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING}
    mapping = mappings[kind] if kind == NEXT_TOKEN or keeps_head else MODEL_MAPPING
    if type(config) not in mapping:
        raise HubModelError(f"{folder}: transformers has no {config.model_type} whose answer is {kind}")
    found = mapping[type(config)]
    cls = found[0] if isinstance(found, tuple | list) else found
    options: dict[str, Any] = {"attn_implementation": "eager"}  # shows its matrices, and is plain in a graph
    if "add_pooling_layer" in inspect.signature(cls.__init__).parameters:
        options["add_pooling_layer"] = False  # nothing reads it
    _count(folder, config, cls, options)
    return _Made(folder, config, cls, options)


def _count(folder: Path, config: Any, cls: Any, options: dict[str, Any]) -> None:
    """Refuse what does not fit into memory before a tensor of it is made."""
    try:
        with torch.device("meta"), quiet_transformers():
            outline = cls._from_config(config, **options)
    except Exception as error:
        raise HubModelError(f"{folder}: no model can be made of it: {str(error)[:300]}") from None
    count = sum(math.prod(value.shape) for value in outline.parameters())
    if count > MOST_PARAMETERS:
        raise HubModelError(f"{folder}: {count:,d} parameters, more than {MOST_PARAMETERS:,d}")


def _loaded(folder: Path, config: Any, made: _Made, *, other_head: bool) -> tuple[nn.Module, bool]:
    network, told = made.load()
    lacking = sorted(told["missing_keys"])
    differing = sorted(str(one[0]) for one in told["mismatched_keys"])
    heads = [name for name in (*lacking, *differing) if any(part in _HEADS for part in name.split("."))]
    others = [name for name in (*lacking, *differing) if name not in heads]
    if others or (set(differing) & set(heads) and not other_head):
        bad = others or differing
        raise HubModelError(
            f"{folder}: config.json and the weights are not of one model: {', '.join(bad[:4])} "
            f"({len(bad)} in all) are missing, or of another shape"
        )
    return network, bool(heads)


def _refuse_pickled(folder: Path) -> None:
    pickled = next((name for name in _PICKLED if (folder / name).is_file()), None)
    if pickled is not None:
        raise HubModelError(
            f"{folder}: its weights are {pickled}, which can hold code; only safetensors are read: save the "
            "model again with save_pretrained(folder, safe_serialization=True)"
        )


def _encoder_of(network: Any, config: Any) -> nn.Module:
    """The part that reads, of a model that reads and writes."""
    if getattr(config, "is_encoder_decoder", False):
        encoder: nn.Module = network.get_encoder()
        return encoder
    reads: nn.Module = network
    return reads


def _network(
    model: nn.Module, folder: Path, config: Any, kind: str, classes: int, pad: int
) -> tuple[SubwordNetwork, int]:
    if kind == NEXT_TOKEN:
        if getattr(config, "is_encoder_decoder", False):
            raise HubModelError(f"{folder}: reads a text and writes another; next-token takes causal models")
        return NextTokenNetwork(model, pad=pad), int(config.vocab_size)
    if kind == CLASSES and has_classifier(config):
        if config.num_labels < 2:
            raise HubModelError(f"{folder}: num_labels is {config.num_labels}: it has no classes")
        return SubwordClassifier(model, pad=pad), int(config.num_labels)
    width, pooling = int(config.hidden_size), _pooling(folder)
    if kind == EMBEDDING:
        return SentenceNetwork(model, pad=pad, pooling=pooling), width
    number = classes or 2
    head = SentenceClassifier(model, pad=pad, pooling=pooling, width=width, classes=number)
    return head, number


def _pooling(folder: Path) -> str:
    """How a sentence model makes one vector, as sentence-transformers writes it down; else the mean."""
    modules = folder / "modules.json"
    if modules.is_file() and b'"sentence_transformers.models.Dense' in modules.read_bytes()[: 1 << 16]:
        raise HubModelError(f"{folder}: {_DENSE}")
    path = folder / "1_Pooling" / "config.json"
    if not path.is_file():
        return MEAN
    try:
        document = json.loads(path.read_bytes()[: 1 << 16])
        chosen = [
            name for name, value in document.items() if name.startswith("pooling_mode") and value is True
        ]
    except (ValueError, AttributeError) as error:
        raise HubModelError(f"{path}: not a description of pooling ({error})") from None
    if len(chosen) != 1 or chosen[0] not in _POOLINGS:
        raise HubModelError(f"{path}: {', '.join(chosen) or 'nothing'}; known are {', '.join(_POOLINGS)}")
    return _POOLINGS[chosen[0]]


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """A context in which transformers draws no bars and reports no weights that are missing."""
    from transformers.utils import logging as reports

    logger = logging.getLogger("transformers")
    level, bars = logger.level, reports.is_progress_bar_enabled()
    logger.setLevel(logging.ERROR)
    reports.disable_progress_bar()
    try:
        yield
    finally:
        logger.setLevel(level)
        if bars:
            reports.enable_progress_bar()
