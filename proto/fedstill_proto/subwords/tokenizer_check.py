"""Looks through a tokenizer.json before the library of tokenizers may: known parts, within bounds.

A signed file can still be a wrong one. What is let through is made of the parts of the list, without random
numbers, files, or patterns that may take for ever; no text becomes many times as long. It needs no library.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from fedstill_proto.errors import WireError

TOKENIZER_LIMIT_BYTES = 32 << 20
SUBWORD_LIMIT = 1 << 20
EXACT_LIMIT = 1 << 24
"""Numbers of sub-words travel as float32, which is exact below this."""
_DEPTH_LIMIT = 8  # of steps in steps
_STEP_LIMIT = 64
_ADDED_LIMIT = 1 << 14
_PATTERN_LIMIT = 2_000  # characters
_GROWTH_LIMIT = 16.0  # times, by what replaces what
_PIECE_LIMIT = 4_096  # characters of one sub-word, or of what is put in

_MODELS = frozenset({"BPE", "WordPiece", "Unigram", "WordLevel"})
_NORMALIZERS = """
    BertNormalizer ByteLevel Lowercase NFC NFD NFKC NFKD Nmt Precompiled Prepend Replace Sequence Strip
    StripAccents
"""
_PRE_TOKENIZERS = """
    BertPreTokenizer ByteLevel CharDelimiterSplit Digits FixedLength Metaspace Punctuation Sequence Split
    UnicodeScripts Whitespace WhitespaceSplit
"""
_PROCESSORS = "BertProcessing ByteLevel RobertaProcessing Sequence TemplateProcessing"
_DECODERS = "BPEDecoder ByteFallback ByteLevel Fuse Metaspace Replace Sequence Strip WordPiece"
_STEPS = {
    "normalizer": frozenset(_NORMALIZERS.split()),
    "pre_tokenizer": frozenset(_PRE_TOKENIZERS.split()),
    "post_processor": frozenset(_PROCESSORS.split()),
    "decoder": frozenset(_DECODERS.split()),
}
_BACK = tuple("123456789kg")  # after a backslash, they refer to a group
_INNER = ("normalizers", "pretokenizers", "processors", "decoders")  # what a Sequence holds


def check_tokenizer(content: bytes) -> int:
    """The highest number of a sub-word; raises WireError unless this agent reads such a tokenizer.json."""
    if len(content) > TOKENIZER_LIMIT_BYTES:
        raise WireError("tokenizer", f"{len(content)} bytes, more than {TOKENIZER_LIMIT_BYTES}")
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise WireError("tokenizer", f"not a tokenizer.json: {str(error)[:100]}") from None
    if not isinstance(document, dict) or not isinstance(document.get("model"), dict):
        raise WireError("tokenizer", "not a tokenizer.json: it has no model")
    highest = max(_check_model(document["model"]), _check_added(document.get("added_tokens") or []))
    growth = 1.0
    for part, known in _STEPS.items():
        for step in _steps(document.get(part), part, known, depth=0):
            growth *= _checked_growth(step, part) if part != "decoder" else 1.0
    if growth > _GROWTH_LIMIT:
        raise WireError(
            "tokenizer.normalizer", f"makes texts {growth:g} times as long; {_GROWTH_LIMIT:g} at most"
        )
    return highest


def _check_model(model: Mapping[str, Any]) -> int:
    """The highest number of its sub-words."""
    kind = model.get("type")
    if kind not in _MODELS:
        problem = f"{kind!r:.60} is none of {', '.join(sorted(_MODELS))}; save it with a newer tokenizers"
        raise WireError("tokenizer.model.type", problem)
    if model.get("dropout"):
        raise WireError(
            "tokenizer.model.dropout", f"{model['dropout']!r:.40}: draws random numbers; set null"
        )
    entries = model.get("vocab")
    if isinstance(entries, dict):  # sub-word -> number
        pieces, numbers = list(entries), list(entries.values())
    elif isinstance(entries, list):  # [sub-word, log probability], by number
        pieces = [entry[0] if isinstance(entry, list) and entry else None for entry in entries]
        numbers = list(range(len(entries)))
    else:
        raise WireError("tokenizer.model.vocab", "is no list of sub-words")
    if not 1 <= len(pieces) <= SUBWORD_LIMIT:
        raise WireError("tokenizer.model.vocab", f"{len(pieces)} sub-words; 1 to {SUBWORD_LIMIT} are read")
    _check_pieces(pieces, "tokenizer.model.vocab")
    _check_numbers(numbers, "tokenizer.model.vocab")
    merges = model.get("merges") or []
    if not isinstance(merges, list) or len(merges) > SUBWORD_LIMIT:
        raise WireError("tokenizer.model.merges", f"is no list of {SUBWORD_LIMIT} merges at most")
    return int(max(numbers))


def _check_added(added: object) -> int:
    """The highest number of them; -1 where there are none."""
    where = "tokenizer.added_tokens"
    if (
        not isinstance(added, list)
        or len(added) > _ADDED_LIMIT
        or not all(isinstance(a, dict) for a in added)
    ):
        raise WireError(where, f"is no list of {_ADDED_LIMIT} sub-words at most")
    numbers = [one.get("id") for one in added]
    _check_pieces([one.get("content") for one in added], where)
    _check_numbers(numbers, where)
    return max(numbers, default=-1)


def _check_pieces(pieces: list[Any], where: str) -> None:
    for piece in pieces:
        if not isinstance(piece, str) or len(piece) > _PIECE_LIMIT:
            raise WireError(where, f"{piece!r:.60} is no sub-word of {_PIECE_LIMIT} characters at most")


def _check_numbers(numbers: list[Any], where: str) -> None:
    for number in numbers:
        if type(number) is not int or not 0 <= number < EXACT_LIMIT:
            raise WireError(where, f"{number!r:.60} is no number of a sub-word, 0 to {EXACT_LIMIT - 1}")


def _steps(part: object, where: str, known: frozenset[str], *, depth: int) -> Iterator[Mapping[str, Any]]:
    """The steps of a part, those of its sequences, too; each of a known kind."""
    if part is None:
        return
    field = f"tokenizer.{where}"
    if not isinstance(part, dict) or part.get("type") not in known:
        kind = part.get("type") if isinstance(part, dict) else part
        raise WireError(field, f"{kind!r:.60} is not a step that this agent takes")
    yield part
    if part["type"] != "Sequence":
        return
    inner = next((part[name] for name in _INNER if name in part), None)
    if not isinstance(inner, list) or len(inner) > _STEP_LIMIT or depth >= _DEPTH_LIMIT:
        raise WireError(field, f"a sequence is no list of {_STEP_LIMIT} steps, {_DEPTH_LIMIT} deep at most")
    for step in inner:
        yield from _steps(step, where, known, depth=depth + 1)


def _checked_growth(step: Mapping[str, Any], where: str) -> float:
    """How many times as long a step may make a text, at most; raises WireError for what is out of bounds."""
    field, kind = f"tokenizer.{where}", step["type"]
    pattern, found = step.get("pattern"), ""
    if isinstance(pattern, dict) and len(pattern) == 1:
        ((how, found),) = pattern.items()
        if how not in ("String", "Regex") or not isinstance(found, str) or len(found) > _PATTERN_LIMIT:
            raise WireError(field, f"{found!r:.60} is no pattern of {_PATTERN_LIMIT} characters at most")
        if how == "Regex":
            check_pattern(found, field)
            found = ""
    elif pattern is not None:
        raise WireError(field, f"{pattern!r:.60} is no pattern")
    if kind == "TemplateProcessing":
        _check_template(step, field)
    if kind == "Prepend" and len(str(step.get("prepend"))) > _STEP_LIMIT:
        raise WireError(field, f"puts {len(str(step['prepend']))} characters before a text")
    if kind == "Replace":
        content = step.get("content")
        if not isinstance(content, str) or len(content) > _PIECE_LIMIT:
            raise WireError(field, f"{content!r:.60} is nothing to put in a pattern's place")
        return max(1.0, len(content) / max(1, len(found)))
    return 1.0


def _check_template(step: Mapping[str, Any], field: str) -> None:
    special = step.get("special_tokens") or {}
    listed = special.values() if isinstance(special, dict) else special
    numbers: list[Any] = []
    for one in listed:
        ids = one.get("ids") if isinstance(one, dict) else None
        if not isinstance(ids, list) or len(numbers) + len(ids) > _STEP_LIMIT:
            raise WireError(field, f"a template has lists of {_STEP_LIMIT} special sub-words at most")
        numbers += ids
    _check_numbers(numbers, field)
    for name in ("single", "pair"):
        pieces = step.get(name)
        if not isinstance(pieces, list) or len(pieces) > _STEP_LIMIT:
            raise WireError(field, f"a template's {name!r} is no list of {_STEP_LIMIT} parts at most")
        texts = sum("Sequence" in piece for piece in pieces if isinstance(piece, dict))
        if texts > 2:
            raise WireError(field, f"a template's {name!r} repeats the text {texts} times")


def check_pattern(pattern: str, field: str) -> None:
    """Refuse a regular expression that may take exponential time: repeats in repeats, or references back."""
    repeated: list[bool] = [False]  # whether the group at each depth holds a repeat
    place, in_class = 0, 0
    while place < len(pattern):
        sign = pattern[place]
        if sign == "\\":
            if not in_class and pattern[place + 1 : place + 2] in _BACK:
                raise WireError(field, f"the pattern {pattern!r:.80} refers back to what it found")
            place += 2
            continue
        if sign == "[":
            in_class += 1
        elif sign == "]":
            in_class = max(0, in_class - 1)
        elif in_class:
            pass
        elif sign == "(":
            repeated.append(False)
        elif sign == ")":
            holds = repeated.pop() if len(repeated) > 1 else False
            if holds and _is_repeat(pattern[place + 1 :]):
                raise WireError(
                    field, f"the pattern {pattern!r:.80} repeats what repeats: it may take for ever"
                )
            repeated[-1] = repeated[-1] or holds
        elif _is_repeat(pattern[place:]):
            repeated[-1] = True
        place += 1


def _is_repeat(rest: str) -> bool:
    """Whether a sign begins that may repeat what stands before it any number of times, or very often."""
    if rest[:1] != "{":
        return rest[:1] in ("*", "+")
    least, comma, most = rest[1:].partition("}")[0].partition(",")
    times = most if comma else least
    return bool(comma and not most) or (times.isdigit() and int(times) > _STEP_LIMIT)
