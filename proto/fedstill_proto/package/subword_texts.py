"""Running text as sub-words, and back: what begins it, what ends it, and what is never written."""

from __future__ import annotations

import json
from collections.abc import Sequence

from fedstill_proto.errors import WireError
from fedstill_proto.package.constraints.suppressor import Suppressor
from fedstill_proto.package.constraints.token_mask import TokenMask
from fedstill_proto.package.subwords import MOST_PLACES
from fedstill_proto.subwords.reader import SubwordReader

_ENDS = ("<|endoftext|>", "</s>", "<|end_of_text|>", "<eos>", "<|im_end|>", "<|eot_id|>")
_BEGINNINGS = ("<s>", "<bos>", "<|begin_of_text|>")


class SubwordTexts:
    """The sub-words of a tokenizer.json; what ends a text begins the next one, where nothing else does.

    Args:
        tokenizer: The file's content.
        pad: The number of the padding.
        size: How many sub-words the student knows.
    """

    def __init__(self, tokenizer: bytes, *, pad: int, size: int) -> None:
        self._reader = SubwordReader(tokenizer, places=MOST_PLACES, pad=pad)
        special = _special_tokens(tokenizer)
        self._size = size
        self.ends = frozenset(number for text, number in special.items() if text in _ENDS)
        self.never = frozenset(special.values()) - self.ends | {*range(size, self._reader.size)}
        named = [special[text] for text in _BEGINNINGS if text in special]
        self.begin = [*named, *sorted(self.ends), pad][0]

    def numbers(self, text: str) -> list[int]:
        found = self._reader.numbers(text) if text else []
        return found if found and found[0] in self.never | self.ends else [self.begin, *found]

    def text(self, numbers: Sequence[int]) -> str:
        return self._reader.text(numbers)

    def mask(self, suppressor: Suppressor) -> TokenMask:
        return TokenMask.of_decoder(
            suppressor, self._reader.text, size=self._size, behind=self._reader.numbers("a")[-1]
        )


def _special_tokens(tokenizer: bytes) -> dict[str, int]:
    try:
        added = json.loads(tokenizer).get("added_tokens") or []
        return {str(each["content"]): int(each["id"]) for each in added if each.get("special")}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise WireError("tokenizer", f"not a tokenizer.json ({str(error)[:100]})") from None
