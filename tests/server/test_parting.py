"""Where a student and its teacher part: KL by hand, slices by their intervals, and the command."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
from fedstill_server.inspection.parting.differences import differences
from fedstill_server.inspection.parting.page import text_of_parting, write_parting
from fedstill_server.inspection.parting.report import Parting, parting_of


def logits(*shares: float) -> np.ndarray:
    return np.log(np.array(shares, np.float32))


def answering(table: np.ndarray):  # type: ignore[no-untyped-def]
    """Says of example n what row n of the table [n, ..., K] is."""
    return lambda x: table[x[:, 0].astype(int)]


def test_the_difference_is_kl_of_the_student_from_the_teacher() -> None:
    x = np.arange(2, dtype=np.float32)[:, None]
    mine, theirs = np.stack([logits(0.5, 0.5), logits(0.9, 0.1)]), np.stack([logits(0.75, 0.25)] * 2)
    found = differences(answering(mine), answering(theirs), x, np.array([0, 1]))
    by_hand = [0.75 * math.log(0.75 / share) + 0.25 * math.log(0.25 / (1 - share)) for share in (0.5, 0.9)]
    np.testing.assert_allclose(found.nats, by_hand, rtol=1e-5)
    np.testing.assert_allclose(found.their_share, [0.75, 0.75], rtol=1e-6)
    same = differences(answering(mine), answering(mine), x, np.array([0, 1]))
    np.testing.assert_allclose(same.nats, 0, atol=1e-9)
    # A student that is only surer: at twice the temperature it says the same.
    surer = differences(
        answering(2 * theirs), answering(theirs), x, np.array([0, 1]), temperatures=(2.0, 1.0)
    )
    np.testing.assert_allclose(surer.nats, 0, atol=1e-7)


def test_of_text_each_token_counts_by_itself() -> None:
    x = np.zeros((1, 3), np.int64)
    mine, theirs = np.zeros((1, 3, 2), np.float32), np.zeros((1, 3, 2), np.float32)
    theirs[0, 2] = logits(0.9, 0.1)
    found = differences(lambda _: mine, lambda _: theirs, x, np.array([[1, -1, 0]]))
    assert (found.row.tolist(), found.place.tolist(), found.labels.tolist()) == ([0, 0], [0, 2], [1, 0])
    assert found.nats[0] == 0 < found.nats[1]


def parted() -> Parting:
    """100 examples of two classes; the student takes 20 of the second for the first."""
    x = np.arange(100, dtype=np.float32)[:, None]
    labels = (np.arange(100) >= 50).astype(np.int64)
    theirs = np.stack([logits(0.9, 0.1)] * 50 + [logits(0.1, 0.9)] * 50)
    mine = theirs.copy()
    mine[80:] = logits(0.8, 0.2)
    mine[99] = logits(0.99, 0.01)
    found = differences(answering(mine), answering(theirs), x, labels)
    slices = {"first": x[:, 0] < 50, "last": x[:, 0] >= 80, "few": x[:, 0] > 97}
    return parting_of(
        found,
        slices,
        what="examples",
        named=("cat", "dog").__getitem__,
        described=lambda row, _: f"row {row}",
        most=3,
    )


def test_the_report_names_the_slice_the_class_the_pair_and_the_example(tmp_path: Path) -> None:
    it = parted()
    assert [one.name for one in it.slices] == ["last", "first"]  # two examples say nothing
    assert [(one.name, one.agreement) for one in it.answers] == [("dog", 0.6), ("cat", 1.0)]
    (pair,) = it.pairs
    assert (pair.teacher, pair.student, pair.examples, pair.teacher_right, pair.student_right) == (
        "dog",
        "cat",
        20,
        1.0,
        0.0,
    )
    assert (it.most[0].row, it.most[0].text, it.most[0].label) == (99, "row 99", "dog")
    assert it.most[0].nats > it.most[1].nats
    assert it.agreement == 0.8
    assert it.slices[0].low < it.slices[0].nats < it.slices[0].high
    assert json.loads(json.dumps(it.to_json()))["pairs"][0]["examples"] == 20
    assert "row 99: " in text_of_parting(it)
    write_parting(it, tmp_path / "parting.html", title="mlp-4")
    page = (tmp_path / "parting.html").read_text()
    assert "row 99" in page
    assert "http" not in page.replace("http://www.w3.org", "")
