"""Speculative decoding: a small student drafts tokens, a large one checks them all in one run.

Of a drafted token x, which the draft drew with chance q(x) and the large student gives p(x),

    keep x with chance min(1, p(x) / q(x)); at the first that is not kept draw from max(0, p - q) / sum

and where all are kept, draw one more from the large student's own chances. What is written is distributed as
if the large student had written alone, whatever the draft says (Leviathan et al., 2023, arXiv 2211.17192,
appendix A.1; Chen et al., 2023, arXiv 2302.01318): a bad draft costs time, and nothing else. p and q are the
chances after temperature, top-k, top-p and suppression.

How many tokens are drafted follows what was kept before: one more after all were, one less after none was.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from fedstill_proto.arrays import FloatArray
from fedstill_proto.errors import InvalidValue
from fedstill_proto.package.artifact import StudentPackage
from fedstill_proto.package.constraints.suppressor import Suppressor

from fedstill_client.generation.checked_text import BlockStream, checked_text
from fedstill_client.generation.context import StreamedText, TokenStream
from fedstill_client.generation.sampling import Chances, Sampling, TokenSampler
from fedstill_client.generation.texts import GenerationError
from fedstill_client.generation.writing import TextWriter, Written, check_tokens
from fedstill_client.model.answering_student import AnsweringStudent

MOST_DRAFTED = 16


@dataclass(frozen=True, kw_only=True)
class Speculation:
    """How tokens are drafted.

    Attributes:
        drafted: At first, in a run of the large student.
        most: At most; the number follows what is kept. As many as `drafted` keeps it fixed.
    """

    drafted: int = 4
    most: int = 8

    def __post_init__(self) -> None:
        if not 1 <= self.drafted <= self.most <= MOST_DRAFTED:
            raise InvalidValue("drafted", f"{self.drafted} to {self.most}; give 1 to {MOST_DRAFTED}, rising")

    def after(self, drafted: int, kept: int) -> int:
        """How many to draft after so many of the last were kept."""
        if self.most == self.drafted:
            return drafted
        return min(self.most, drafted + 1) if kept == drafted else max(1, min(drafted, kept + 1))


@dataclass
class SpeculationCount:
    """What became of drafts: `drafted` tokens, of which `kept`, in `runs` of the large student."""

    drafted: int = 0
    kept: int = 0
    runs: int = 0


class _Draft(NamedTuple):
    """A token of the small student, and the chances [V] that it was drawn with."""

    number: int
    chances: Chances


class SpeculativeWriter:
    """Writes as a large student does, with the drafts of a small one; both know the same tokens.

    Args:
        writer: That of the large student.
        stream: The large student; one that takes several tokens in a run is what makes it fast.
        draft: The small student.
        speculation: How tokens are drafted.
    """

    def __init__(
        self,
        writer: TextWriter,
        stream: BlockStream,
        draft: TokenStream,
        *,
        speculation: Speculation | None = None,
    ) -> None:
        self._writer, self._stream, self._draft = writer, stream, draft
        self.speculation = speculation or Speculation()
        self.count = SpeculationCount()

    @classmethod
    def of(
        cls,
        package: StudentPackage,
        draft: StudentPackage,
        *,
        student: AnsweringStudent | None = None,
        suppressor: Suppressor | None = None,
        speculation: Speculation | None = None,
    ) -> SpeculativeWriter:
        """The writer of a package, with the student of another one that drafts.

        Args:
            package: The large student's.
            draft: The small student's.
            student: A student of the large package that has other weights.
            suppressor: What must never be written; what the package suppresses, where it is None.
            speculation: How tokens are drafted.

        Raises:
            GenerationError: One of them writes no text, or they do not know the same tokens.
        """
        check_same_tokens(package, draft)
        student = AnsweringStudent(package) if student is None else student
        writer = TextWriter.of(package, student, suppressor=suppressor)
        stream, drafting = student.stream(), AnsweringStudent(draft).stream()
        if stream is None or drafting is None:
            raise GenerationError(
                f"the package of {draft.manifest.family!r} has no graph of one token; publish it anew."
            )
        return cls(writer, stream, drafting, speculation=speculation)

    def write(self, prompt: str = "", *, tokens: int = 64, sampling: Sampling | None = None) -> Written:
        """As `TextWriter.write`: the same chances, though the same seed draws another text."""
        return self._writer.gathered(self.drawn(prompt, tokens=tokens, sampling=sampling))

    def drawn(self, prompt: str, *, tokens: int, sampling: Sampling | None = None) -> Iterator[int]:
        """The tokens as they are settled; what ends a text is the last one."""
        check_tokens(tokens)
        sampler = TokenSampler(sampling or Sampling())
        numbers = self._writer.texts.numbers(prompt)
        text = checked_text(self._stream, most=self.speculation.most)
        draft = StreamedText(self._draft, droppable=self.speculation.most)
        # What each of the two has not been given yet.
        for_text, for_draft = list(numbers), list(numbers)
        left, count = tokens, self.speculation.drafted
        while left:
            drafts = self._drafts(draft, for_draft, numbers, min(count, left - 1), sampler)
            along = text.along([*for_text, *(each.number for each in drafts)])[len(for_text) - 1 :]
            settled = self._settled(along, drafts, numbers, sampler)
            kept = len(settled) - 1
            self._count(len(drafts), kept)
            for number in settled:
                yield number
                if number in self._writer.texts.ends:
                    return
            text.drop(len(drafts) - kept)
            given = max(0, len(drafts) - 1)  # of its own drafts, the last was not given back to it
            draft.drop(max(0, given - kept))
            for_text, for_draft = settled[-1:], settled[min(given, kept) :]
            numbers = [*numbers, *settled]
            left -= len(settled)
            count = self.speculation.after(count, kept) if len(drafts) == count else count

    def _drafts(
        self,
        draft: StreamedText,
        given: Sequence[int],
        behind: Sequence[int],
        count: int,
        sampler: TokenSampler,
    ) -> list[_Draft]:
        """Tokens that the small student draws, up to one that ends a text."""
        drafts: list[_Draft] = []
        numbers = list(behind)
        for _ in range(count):
            chances = sampler.chances(self._writer.left(draft.add(given), numbers))
            number = sampler.draw(chances)
            drafts.append(_Draft(number, chances))
            numbers.append(number)
            if number in self._writer.texts.ends:
                break
            given = [number]
        if not drafts:
            draft.add(given)
        return drafts

    def _settled(
        self, along: FloatArray, drafts: Sequence[_Draft], behind: Sequence[int], sampler: TokenSampler
    ) -> list[int]:
        """The drafts that are kept, and one token of the large student's own; `along` [drafts + 1, V]."""
        settled: list[int] = []
        for place, logits in enumerate(along):
            before = [*behind, *settled]
            left = self._writer.left(logits, before)
            chances = sampler.chances(left)
            drafted = drafts[place] if place < len(drafts) else None
            is_kept = drafted is not None and (
                sampler.uniform() * drafted.chances[drafted.number] < chances[drafted.number]
            )
            if drafted is None:
                number = sampler.draw(chances)
            elif is_kept:
                number = drafted.number
            else:
                number = sampler.draw(_rest(chances, drafted.chances))
            if not self._writer.allows(number, before):
                # Drawn again, as where the large student writes alone.
                left = np.array(left, np.float32)
                left[number] = -np.inf
                number, is_kept = self._writer.choose(left, before, sampler), False
            settled.append(number)
            if not is_kept:
                break
            if number in self._writer.texts.ends:
                settled.append(number)  # it stands for the token behind, which nobody reads
                break
        return settled

    def _count(self, drafted: int, kept: int) -> None:
        self.count.runs += 1
        self.count.drafted += drafted
        self.count.kept += kept


def _rest(chances: Chances, drafted: Chances) -> Chances:
    """What a token is drawn from where the draft's was not kept."""
    rest = np.maximum(chances - drafted, 0.0)
    total = rest.sum()
    return rest / total if total > 0 else chances


def check_same_tokens(package: StudentPackage, draft: StudentPackage) -> None:
    """Raises GenerationError unless the numbers of two students stand for the same tokens."""
    alike = (
        package.manifest.classes == draft.manifest.classes
        and package.vocabulary == draft.vocabulary
        and package.tokenizer == draft.tokenizer
    )
    if not alike:
        raise GenerationError(
            f"the students {package.manifest.family!r} and {draft.manifest.family!r} do not know the same "
            "tokens: a draft needs the word list, or the tokenizer, of the student that checks it."
        )
