"""Why an answer is left out, in a word."""

from __future__ import annotations

import enum

from fedstill_proto.errors import WireError
from fedstill_proto.soft_labels.entropy import MissingBase

TEXT_LIMIT = 300  # longest text of a reason that is kept: devices write part of it


class Reason(enum.Enum):
    """Why an answer was left out."""

    NO_ANSWER = "no-answer"  # by the deadline
    UNSENT = "unsent"  # the network did not take the task
    ERROR_REPLY = "error-reply"  # the device, or Flower, says that it failed
    POLICY = "policy"  # the policy of the device's owner does not allow it
    BUDGET = "budget"  # what that owner lets out is spent
    NOT_NOW = "not-now"  # the device may not work at the moment
    ANOTHER_GENERATION = "another-generation"  # the device's package is of another; it looks for a release
    NO_STUDENT = "no-student"  # the device has lost its own; it gets one with its next task
    UNASKED = "unasked"  # an answer to no question of this round
    WRONG_NODE = "wrong-node"  # an answer to another node's question
    DUPLICATE = "duplicate"  # a second answer of the same node
    NO_SUMMARY = "no-summary"  # a message without the one record
    TOO_LARGE = "too-large"
    UNREADABLE = "unreadable"  # truncated, altered, or something else altogether
    STALE = "stale"  # it answers a state that is too old (mode async)
    WRONG_VERSION = "wrong-version"
    WRONG_RUN = "wrong-run"
    WRONG_ROUND = "wrong-round"
    WRONG_FAMILY = "wrong-family"
    WRONG_KIND = "wrong-kind"
    WRONG_SHAPE = "wrong-shape"  # rows, classes, encoding, class numbers, parameters
    MISSING_BASE = "missing-base"  # coded against what the receiver does not hold, the task or its answer
    BAD_VALUES = "bad-values"  # not finite, negative, not adding up
    SUM = "sum"  # the device is not in a sum that the server cannot open, or too few others were


def reason_of(error: WireError) -> Reason:
    """Why a decoder refused an answer, from the field that its error names."""
    if isinstance(error, MissingBase):
        return Reason.MISSING_BASE
    named = {
        "protocol_version": Reason.WRONG_VERSION,
        "run": Reason.WRONG_RUN,
        "round": Reason.WRONG_ROUND,
        "family": Reason.WRONG_FAMILY,
        "kind": Reason.WRONG_KIND,
    }
    if error.field in named:
        return named[error.field]
    if not error.field.startswith("statistics"):
        return Reason.TOO_LARGE if "limit" in error.problem else Reason.UNREADABLE
    of_values = error.field.endswith((".values", ".class_examples", "]", ".examples"))
    of_values = of_values or "no cosine" in error.problem or "steps of the grid" in error.problem
    return Reason.BAD_VALUES if of_values else Reason.WRONG_SHAPE
