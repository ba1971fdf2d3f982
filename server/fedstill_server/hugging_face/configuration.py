"""The config.json of a model, read and bounded before anything is made of it.

A field may lie: layers without end, or a vocabulary that fills the memory. What it comes to is counted before
a tensor is made.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fedstill_proto.errors import unknown_name
from fedstill_proto.package.subwords import CLASSES, EMBEDDING, MOST_SUBWORDS, NEXT_TOKEN
from fedstill_proto.system.extras import require_extra

from fedstill_server.hugging_face.errors import HubModelError
from fedstill_server.hugging_face.reference import HubReference

MOST_PARAMETERS = 1 << 31
_CONFIG_LIMIT_BYTES = 1 << 20
_MOST = {
    "num_hidden_layers": 256,
    "num_layers": 256,
    "num_decoder_layers": 256,
    "hidden_size": 1 << 15,
    "embedding_size": 1 << 15,
    "intermediate_size": 1 << 17,
    "num_attention_heads": 1 << 10,
    "num_key_value_heads": 1 << 10,
    "max_position_embeddings": 1 << 21,
    "vocab_size": MOST_SUBWORDS,
    "type_vocab_size": 1 << 10,
    "num_labels": 1 << 16,
    "num_local_experts": 1 << 10,
    "num_experts": 1 << 10,
}
_FIXED = ("model_type", "architectures", "auto_map", "layer_types", "torch_dtype", "dtype")
_CLASSIFIER, _CAUSAL = "ForSequenceClassification", ("ForCausalLM", "LMHeadModel")


def read_configuration(reference: HubReference, folder: Path) -> Any:
    """The configuration of a model with the reference's fields put in; raises HubModelError."""
    require_extra("transformers", what=f"{reference.text}: a model of Hugging Face")
    document = _document(folder)
    return _changed(_own(folder, document), reference)


def own_configuration(folder: Path) -> Any:
    """The configuration of a model as its folder has it."""
    return _own(folder, _document(folder))


def usual_answer(config: Any) -> str:
    """What a model says of a text by its architecture: an encoder without a head makes a vector."""
    for name in getattr(config, "architectures", None) or ():
        if name.endswith(_CLASSIFIER):
            return CLASSES
        if name.endswith(_CAUSAL):
            return NEXT_TOKEN
    return EMBEDDING


def has_classifier(config: Any) -> bool:
    """Whether the model has a trained head of classes."""
    return usual_answer(config) == CLASSES


def places_at_most(config: Any) -> int | None:
    """How many sub-words the model reads at most; None where its positions have no end."""
    most = getattr(config, "max_position_embeddings", None)
    if not isinstance(most, int) or most <= 0:
        return None
    # Roberta and its kin count positions from behind the number of the padding.
    counts_from_pad = config.model_type in _FROM_PAD
    return most - (config.pad_token_id or 0) - 1 if counts_from_pad else most


_FROM_PAD = ("roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "mpnet", "longformer", "data2vec-text")


def _document(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        with path.open("rb") as file:
            content = file.read(_CONFIG_LIMIT_BYTES + 1)
        if len(content) > _CONFIG_LIMIT_BYTES:
            raise HubModelError(f"{path}: larger than {_CONFIG_LIMIT_BYTES:,d} bytes")
        document = json.loads(content)
    except (OSError, ValueError, RecursionError) as error:
        raise HubModelError(f"{path}: not a model's configuration ({error})") from None
    if not isinstance(document, dict) or not isinstance(document.get("model_type"), str):
        raise HubModelError(f"{path}: names no model_type; give a folder that save_pretrained made")
    return document


def _own(folder: Path, document: dict[str, Any]) -> Any:
    from transformers import CONFIG_MAPPING

    kind = document["model_type"]
    if kind not in CONFIG_MAPPING:
        code = "brings code of its own, which is not run" if "auto_map" in document else "is unknown"
        raise HubModelError(f"{folder}: its model_type {kind[:60]!r} {code} (transformers knows others)")
    for name, value in document.items():
        _bounded(str(folder / "config.json"), name, value)
    try:
        config = CONFIG_MAPPING[kind].from_dict({k: v for k, v in document.items() if k != "auto_map"})
    except Exception as error:  # what a class of configurations raises for a field is its own
        raise HubModelError(f"{folder / 'config.json'}: {str(error)[:300]}") from None
    for name in _MOST:
        _bounded(str(folder / "config.json"), name, getattr(config, name, None))
    return config


def _changed(config: Any, reference: HubReference) -> Any:
    values, names = reference.values(), getattr(config, "attribute_map", {})
    if not values:
        return config
    document = config.to_dict()
    for name, value in values.items():
        field = names.get(name, name)
        if field.startswith("_") or field in _FIXED or field not in document:
            raise unknown_name(f"{reference.text}: option", name, [*names, *document])
        before = document[field]
        kinds = {type(value), type(before)}
        if before is not None and len(kinds) > 1 and kinds != {int, float}:
            raise HubModelError(f"{reference.text}: {name} is {value!r}, and was {before!r} in config.json")
        _bounded(reference.text, name, value)
        document[field] = value
    document.pop("layer_types", None)  # one for each layer: made anew
    try:
        changed = type(config).from_dict(document)
    except Exception as error:
        raise HubModelError(f"{reference.text}: {str(error)[:300]}") from None
    changed.architectures = config.architectures
    return changed


def _bounded(where: str, name: str, value: Any) -> None:
    most = _MOST.get(name)
    if most is not None and value is not None and not (isinstance(value, int) and 0 <= value <= most):
        raise HubModelError(f"{where}: {name} is {value!r:.40}, not a whole number of 0 to {most:,d}")
