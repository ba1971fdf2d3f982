"""How much each family's student counts beside the lexicon: mixes.json, in a fleet's folder.

{"gru-80-224": [0.6, ...], ...}    a weight for each class of histories, as in lexicon.safetensors
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from fedstill_proto.errors import WireError
from fedstill_proto.text.lexicon import CLASSES, Lexicon
from fedstill_proto.text.vocabulary import WordList

from fedstill_server.data.errors import ExamplesError

MIXES_FILE, LEXICON_FILE = "mixes.json", "lexicon.safetensors"


def mixes_to_json(mixes: Mapping[str, npt.NDArray[np.float32]]) -> bytes:
    """mixes.json"""
    return json.dumps({family: mix.tolist() for family, mix in sorted(mixes.items())}).encode()


def lexicon_of_family(folder: Path, family: str, words: WordList) -> bytes | None:
    """lexicon.safetensors with the mix of a family's student; None where the fleet was made without one.

    Raises:
        ExamplesError: For files that are damaged.
    """
    path = folder / LEXICON_FILE
    if not path.exists():
        return None
    try:
        lexicon = Lexicon.from_bytes(path.read_bytes(), words)
        mix = _mix(json.loads((folder / MIXES_FILE).read_bytes()), family, folder / MIXES_FILE)
    except (WireError, ValueError, RecursionError) as error:
        raise ExamplesError(f"{folder}: {error}; prepare the fleet anew") from None
    except OSError as error:
        raise ExamplesError(f"{folder / MIXES_FILE}: cannot be read: {error.strerror}") from None
    return lexicon.to_bytes() if mix is None else replace(lexicon, mix=mix).to_bytes()


def _mix(found: Any, family: str, path: Path) -> npt.NDArray[np.float32] | None:
    if not isinstance(found, dict):
        raise ExamplesError(f"{path}: is no object of weights by family")
    if family not in found:
        return None
    weights = found[family]
    if (
        not isinstance(weights, list)
        or len(weights) != CLASSES
        or not all(isinstance(one, int | float) and 0 <= one <= 1 for one in weights)
    ):
        raise ExamplesError(f"{path}: {family}: is no list of {CLASSES} weights, 0 to 1")
    return np.array(weights, np.float32)
