"""What writes at a home: a student of text, without the words that its package or its owner does not want."""

from __future__ import annotations

from collections.abc import Collection

from fedstill_proto.package.artifact import StudentPackage
from fedstill_proto.package.constraints.constraints import Constraints
from fedstill_proto.package.constraints.suppressor import suppressor_of
from fedstill_proto.package.constraints.union import united

from fedstill_client.generation.speculation import SpeculativeWriter
from fedstill_client.generation.writing import TextWriter
from fedstill_client.model.answering_student import AnsweringStudent


def owners_writer(
    package: StudentPackage,
    student: AnsweringStudent,
    blocked: Collection[str],
    *,
    draft: StudentPackage | None = None,
) -> TextWriter | SpeculativeWriter:
    """The writer of a package's student.

    Args:
        package: The package.
        student: Its student, with the weights that answer.
        blocked: Words that its owner has blocked.
        draft: The package of a small student that drafts.
    """
    suppressor = student.suppression.suppressor
    if blocked:
        suppressor = suppressor_of(united(suppressor.constraints, Constraints(words=tuple(sorted(blocked)))))
    if draft is not None:
        return SpeculativeWriter.of(package, draft, student=student, suppressor=suppressor)
    return TextWriter.of(package, student, suppressor=suppressor)
