"""A soft-label codec in words, as configurations and command lines have it: "topk8,4bit,entropy,delta".

float32 | float16 | uint8         each probability by itself
gaussian                          of numbers: mean and variance
dense | topk<k>                   all classes, or the k likeliest and a rest bucket
drawn<m>                          beside topk<k>: draws of the others, unbiased; with <n>bit alone
<n>bit                            codes of 1 to 8 bits, with drawn<m> to 16; the default is 8
shares | log                      what a code is: equal shares of 1 (the default), or equal steps of log p
entropy                           entropy coded
delta                             against what the receiver holds already; needs entropy
"""

from __future__ import annotations

import re

from fedstill_proto.errors import InvalidValue
from fedstill_proto.soft_labels.codec import Encoding, SoftLabelCodec
from fedstill_proto.soft_labels.levels import MAX_BITS, Grid

_LONE = (Encoding.FLOAT32, Encoding.FLOAT16, Encoding.UINT8, Encoding.GAUSSIAN)
_ALONE = {encoding.value: encoding for encoding in _LONE}
_NUMBERED = re.compile(r"(topk|drawn)(\d{1,8})|(\d{1,2})(bit)", re.ASCII)
EXAMPLES = "dense,4bit,entropy, topk8,4bit,entropy,delta or topk16,drawn16"


def parse_codec(text: str) -> SoftLabelCodec:
    """The codec that the words stand for; raises InvalidValue, which says what would do."""
    words = [word.strip() for word in text.lower().split(",")]
    if len(words) == 1 and words[0] in _ALONE:
        return SoftLabelCodec(_ALONE[words[0]])
    said: dict[str, int | str] = {}
    for word in words:
        kind, value = _meaning(word, text)
        if kind in said:
            raise InvalidValue("codec", f"{text!r} says {kind} twice")
        said[kind] = value
    k = int(said.get("classes", 0))
    if "drawn" in said:
        if others := sorted({"grid", "entropy", "delta"} & set(said)):
            raise InvalidValue("codec", f"{text!r} says {others[0]}, which drawn classes do not have")
        return SoftLabelCodec(Encoding.DRAWN, k, int(said.get("bits", MAX_BITS)), drawn=int(said["drawn"]))
    if set(said) == {"classes"} and k:
        return SoftLabelCodec(Encoding.TOP_K, k)
    return SoftLabelCodec(
        Encoding.LEVELS,
        k,
        int(said.get("bits", MAX_BITS)),
        Grid(said.get("grid", Grid.SHARES.value)),
        entropy="entropy" in said,
        delta="delta" in said,
    )


def format_codec(codec: SoftLabelCodec) -> str:
    """The words that `parse_codec` takes for this codec."""
    if codec.encoding in _ALONE.values():
        return codec.encoding.value
    classes = f"topk{codec.k}" if codec.k else "dense"
    if codec.encoding is Encoding.TOP_K:
        return classes
    if codec.encoding is Encoding.DRAWN:
        return f"{classes},drawn{codec.drawn},{codec.bits}bit"
    words = [classes, f"{codec.bits}bit"]
    if codec.grid is not Grid.SHARES:
        words.append(codec.grid.value)
    return ",".join(words + [word for word in ("entropy", "delta") if getattr(codec, word)])


def _meaning(word: str, text: str) -> tuple[str, int | str]:
    """What a word speaks of, and what it says."""
    if word in ("entropy", "delta"):
        return word, word
    if word in (Grid.SHARES.value, Grid.LOG.value):
        return "grid", word
    if word == "dense":
        return "classes", 0
    match = _NUMBERED.fullmatch(word)
    if match is None:
        alone = f"; {word} stands alone" if word in _ALONE else ""
        raise InvalidValue(
            "codec",
            f"{word!r} in {text!r} is none of dense, topk<k>, drawn<m>, <n>bit, shares, log, entropy, "
            f"delta{alone}; for example {EXAMPLES}, or one of {', '.join(_ALONE)}",
        )
    if match[1]:
        if int(match[2]) < 1:
            raise InvalidValue("codec", f"{word!r} names no class; {match[1]} needs at least 1")
        return ("drawn" if match[1] == "drawn" else "classes"), int(match[2])
    return "bits", int(match[3])
