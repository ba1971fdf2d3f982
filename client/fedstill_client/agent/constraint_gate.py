"""The device's gate after a learning: no student answers its owner that lets through what is suppressed.

A student that is better on the owner's examples is asked, with its new weights and in each precision that the
package has, what the package's constraints forbid: a keyboard what it suggests where the owner has typed
suppressed words, a classifier what it answers to the fleet's public examples and the owner's own.
"""

from __future__ import annotations

from itertools import islice

import numpy as np
from fedstill_proto.arrays import Parameters
from fedstill_proto.package.artifact import StudentPackage
from fedstill_proto.package.target import TargetKind

from fedstill_client.agent_types import PRECISIONS
from fedstill_client.keyboard.next_word_model import StudentNextWordModel
from fedstill_client.keyboard.probing import suppressed_suggestions
from fedstill_client.keyboard.suggester import Suggester
from fedstill_client.keyboard.user_ngrams import UserNgrams
from fedstill_client.model.answering_student import AnsweringStudent
from fedstill_client.model.suppression import Suppression, package_constraints
from fedstill_client.model.word_list import package_lexicon, package_word_list
from fedstill_client.store import PrivateStore

_TEXTS, _EXAMPLES, _SHOWN = 200, 256, 3


class ConstraintGate:
    """Asks students of a package for what it suppresses.

    Args:
        package: The installed package.
        store: The private store, whose texts and examples are asked about.
    """

    def __init__(self, package: StudentPackage, store: PrivateStore) -> None:
        self._package, self._store = package, store

    def refuses(self, weights: Parameters) -> str:
        """Why a student of these weights must not answer; "" where it may."""
        if self._package.constraints is None:
            return ""
        precisions = PRECISIONS if self._package.int8_graph is not None else PRECISIONS[:1]
        for precision in precisions:
            student = AnsweringStudent(self._package, precision=precision)
            student.swap(weights)
            found = self._suggested(student) or self._answered(student)
            if found:
                return f"its constraints do not hold in {precision}: {found}"
        return ""

    def _suggested(self, student: AnsweringStudent) -> str:
        words = package_word_list(self._package)
        if words is None or student.suppression.suppressor.is_idle:
            return ""
        lexicon = package_lexicon(self._package, words)
        ngrams = UserNgrams(words, lexicon, suppressor=student.suppression.suppressor)
        texts = [text.text for text in islice(self._store.texts(), _TEXTS)]
        for text in texts:
            ngrams.add(text)
        suggester = Suggester(ngrams, StudentNextWordModel(student))
        found = suppressed_suggestions(suggester, package_constraints(self._package), texts)
        return "; ".join(found[:_SHOWN])

    def _answered(self, student: AnsweringStudent) -> str:
        suppression: Suppression = student.suppression
        manifest = self._package.manifest
        if not suppression.classes or manifest.target.is_regression:
            return ""
        own, public = self._store.examples("all").x[-_EXAMPLES:], self._package.public_x
        asked = [own] if own.shape[1:] == manifest.given_shape else []
        if public is not None and manifest.input_rule.changes_nothing:
            asked.append(public[:_EXAMPLES])
        classes = sorted(suppression.classes)
        for x in asked:
            answers = student.probabilities(np.asarray(x)) if len(x) else np.zeros((0, manifest.classes))
            if not np.isfinite(answers).all() or answers[:, classes].any():
                return f"a suppressed class of {classes} is answered"
            is_single = manifest.target.kind is TargetKind.SINGLE_LABEL
            if is_single and not np.allclose(answers.sum(axis=1), 1.0, atol=1e-4):
                return "what a suppressed class had does not move to the others"
        return ""
