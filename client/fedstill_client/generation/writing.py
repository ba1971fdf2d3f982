"""Writes on with a text: a student says how likely each token is, a sampler draws one, and so on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from fedstill_proto.arrays import FloatArray
from fedstill_proto.errors import InvalidValue
from fedstill_proto.package.artifact import StudentPackage
from fedstill_proto.package.constraints.suppressor import NOTHING_SUPPRESSED, Suppressor

from fedstill_client.generation.context import StreamedText, TokenStream
from fedstill_client.generation.sampling import Sampling, TokenSampler
from fedstill_client.generation.texts import GenerationError, TokenTexts, package_texts
from fedstill_client.model.answering_student import AnsweringStudent

MOST_TOKENS = 4096


@dataclass(frozen=True)
class Written:
    """What was written behind a text.

    Attributes:
        text: What the tokens say.
        numbers: The tokens, without the one that ends a text.
        ended: Whether the student ended the text, rather than a limit.
    """

    text: str
    numbers: tuple[int, ...]
    ended: bool


def check_tokens(tokens: int) -> None:
    """Raises InvalidValue for a number of tokens that nobody can write at once."""
    if not 1 <= tokens <= MOST_TOKENS:
        raise InvalidValue("tokens", f"{tokens}; give 1 to {MOST_TOKENS}")


class TextWriter:
    """A student of text that writes; it keeps nothing between two texts.

    Args:
        stream: The student, a token at a time.
        texts: What its tokens say.
        suppressor: What must never be written.
    """

    def __init__(
        self, stream: TokenStream, texts: TokenTexts, *, suppressor: Suppressor = NOTHING_SUPPRESSED
    ) -> None:
        self._stream, self.texts = stream, texts
        self._mask = None if suppressor.is_idle else texts.mask(suppressor)
        self._never = sorted(texts.never)

    @classmethod
    def of(
        cls,
        package: StudentPackage,
        student: AnsweringStudent | None = None,
        *,
        suppressor: Suppressor | None = None,
    ) -> TextWriter:
        """The writer of a package.

        Args:
            package: The package.
            student: A student of it that has other weights.
            suppressor: What must never be written; what the package suppresses, where it is None.

        Raises:
            GenerationError: Its student writes no text.
        """
        texts = package_texts(package)
        student = AnsweringStudent(package) if student is None else student
        stream = student.stream()
        if stream is None:
            raise GenerationError(
                f"the package of {package.manifest.family!r} has no graph of one token; publish it anew."
            )
        return cls(stream, texts, suppressor=suppressor or student.suppression.suppressor)

    def write(self, prompt: str = "", *, tokens: int = 64, sampling: Sampling | None = None) -> Written:
        """Write on with a text, until the student ends it or there are enough tokens.

        Args:
            prompt: The text to go on with; "" begins one.
            tokens: How many at most.
            sampling: How each is chosen; by chance as the student says, with the seed 0, where it is None.

        Raises:
            InvalidValue: The number of tokens is out of range, or the prompt is too long.
            NothingAllowed: All tokens are suppressed.
        """
        return self.gathered(self.drawn(prompt, tokens=tokens, sampling=sampling))

    def gathered(self, drawn: Iterable[int]) -> Written:
        """What tokens say together; one that ends a text is the last."""
        numbers, ended = [], False
        for number in drawn:
            ended = number in self.texts.ends
            if not ended:
                numbers.append(number)
        return Written(self.texts.text(numbers), tuple(numbers), ended)

    def drawn(self, prompt: str, *, tokens: int, sampling: Sampling | None = None) -> Iterator[int]:
        """The tokens as they are drawn; what ends a text is the last one."""
        check_tokens(tokens)
        sampler = TokenSampler(sampling or Sampling())
        text = StreamedText(self._stream)
        logits = text.add(self.texts.numbers(prompt))
        for _ in range(tokens):
            number = self.choose(logits, text.numbers, sampler)
            yield number
            if number in self.texts.ends:
                return
            logits = text.add([number])

    def choose(self, logits: FloatArray, behind: Sequence[int], sampler: TokenSampler) -> int:
        """The next token behind others, of logits [V]: none that says nothing, or is suppressed there."""
        allowed = self.allowed(logits)
        return sampler(allowed) if self._mask is None else self._mask.choose(allowed, behind, sampler)

    def left(self, logits: FloatArray, behind: Sequence[int]) -> FloatArray:
        """Logits [V] of the next token behind others, -inf for what says nothing or is suppressed there."""
        allowed = self.allowed(logits)
        return allowed if self._mask is None else self._mask.masked(allowed, behind)

    def allows(self, number: int, behind: Sequence[int]) -> bool:
        """Whether a token may stand behind others, by the text that they make together."""
        return self._mask is None or self._mask.allows(behind, number)

    def allowed(self, logits: FloatArray) -> FloatArray:
        """Logits [V], -inf for tokens that say nothing; words that are suppressed are still among them."""
        left = np.array(logits, np.float32)
        left[[number for number in self._never if number < len(left)]] = -np.inf
        return left
