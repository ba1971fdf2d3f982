"""How text becomes the rows of numbers that a student of sub-words reads.

A package with it has a part tokenizer.json, as the library tokenizers writes it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from fedstill_proto.checks import check_integer
from fedstill_proto.errors import InvalidValue

CLASSES, EMBEDDING, NEXT_TOKEN = "classes", "embedding", "next-token"
ANSWERS = (CLASSES, EMBEDDING, NEXT_TOKEN)
"""What a student says of a text: a logit for each class, a vector, or a logit of each sub-word to come."""
MOST_PLACES = 1 << 13
MOST_SUBWORDS = 1 << 24
"""Numbers below it are exact in float32."""
_VERSION = re.compile(r"\d{1,6}(\.\d{1,6}){1,3}[a-z0-9.+]{0,20}", re.ASCII)


@dataclass(frozen=True)
class Subwords:
    """A student's rows of sub-words.

    Attributes:
        places: Numbers of a row: a shorter text is filled up with `pad` at its end, a longer one is cut.
        pad: The number that stands for nothing; the student reads past it.
        size: How many sub-words there are: numbers are 0 to size - 1.
        library: The version of the library tokenizers that read tokenizer.json when the package was made.
        answer: "classes", "embedding" (a text's vector, whose length says nothing) or "next-token".
    """

    places: int
    pad: int
    size: int
    library: str
    answer: str = CLASSES

    def __post_init__(self) -> None:
        check_integer("subwords.places", self.places, 1, MOST_PLACES)
        check_integer("subwords.size", self.size, 2, MOST_SUBWORDS)
        check_integer("subwords.pad", self.pad, 0, self.size - 1)
        if self.answer not in ANSWERS:
            raise InvalidValue("subwords.answer", f"{self.answer[:40]!r} is none of {', '.join(ANSWERS)}")
        if not _VERSION.fullmatch(self.library):
            raise InvalidValue("subwords.library", f"{self.library[:40]!r} is no version such as 0.22.1")
