"""Comparisons in one call: methods over fleets and seeds, as objects and by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fedstill_sim.attacks.answers import LabelAnswers, softmax
from fedstill_sim.attacks.interface import Attack, LabelView

import fedstill as fs

FAST: dict[str, Any] = {
    "students": ["mlp-small"],
    "rounds": 1,
    "processes": 0,
    "epochs": 1,
    "round_epochs": 1,
}


def digits(seed: int) -> fs.Fleet:
    return fs.datasets.digits(devices=2, seed=seed)


def test_methods_are_compared_over_seeds(tmp_path: Path) -> None:
    methods = {"fedavg": "fedavg", "far": fs.methods.Fedstill(server_step=2), "near": fs.methods.Fedstill()}
    compared = fs.compare(digits, methods=methods, seeds=2, reference="fedavg", out=tmp_path, **FAST)
    assert list(compared.runs) == [("digits", name, seed) for seed in (0, 1) for name in methods]
    frame = compared.to_pandas()
    assert list(frame["method"]) == [*methods, *methods]
    far = compared.runs["digits", "far", 1]
    assert far.config["fleet"]["method"]["options"]["server_step"] == 2
    alone = fs.simulate(digits(1), method=methods["far"], seed=1, tradeoff=False, **FAST)
    assert [one.consensus_digest for one in far.rounds] == [one.consensus_digest for one in alone.rounds]
    assert frame.loc[4, "global_accuracy"] == alone.final.global_accuracy

    (on_split,) = compared.outcome.splits
    assert on_split.methods["far"].seeds == (0, 1)
    assert {one.baseline for one in on_split.advantages} == {"fedavg"}
    assert any("fedavg" in verdict.text for verdict in compared.verdicts)
    assert compared.report(tmp_path / "mine.html").read_text().startswith("<!doctype html>")
    assert "| far |" in compared.to_markdown()
    assert repr(compared).startswith("<Comparison of fedavg, far, near: 6 runs>")


def test_a_comparison_under_attack_says_who_lied() -> None:
    class Contrary(Attack):
        """Says that the fleet is wrong."""

        sharpness: float = fs.methods.option(5.0, "How sure it is, in logits.", above=0)

        def soft_labels(self, view: LabelView) -> LabelAnswers:
            return view.saying(softmax(-self.sharpness * view.leaning))

    compared = fs.compare(
        digits(0),
        methods=["local", "fedstill"],
        seeds=1,
        adversaries=0.5,
        attack=Contrary(sharpness=2),
        **FAST,
    )
    assert compared.outcome.attack == "1 of 2 devices lie (Contrary; sharpness 2.0)"
    assert compared.outcome.attack in compared.to_markdown()
    lied = compared.runs["digits", "fedstill", 0].attack
    assert lied is not None
    assert lied.lies == 1


def test_the_same_call_goes_on_with_what_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments: dict[str, Any] = {"methods": ["local", "fedavg"], "seeds": [3], "out": tmp_path, **FAST}
    first = fs.compare({"few": digits(3)}, **arguments)
    monkeypatch.setattr("fedstill_sim.runner.run._make_result", None)  # nothing is run again
    again = fs.compare({"few": digits(3)}, **arguments)
    assert again.runs == first.runs
    assert list(first.runs) == [("few", "local", 3), ("few", "fedavg", 3)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"methods": ["fedavg"]}, "methods: name at least two"),
        ({"methods": ["fedavg", "fedavgg"]}, "methods: 'fedavgg' is unknown; did you mean fedavg"),
        ({"methods": [fs.methods.Fedstill(), "fedstill"]}, "there are several fedstill; map a name to each"),
        ({"seeds": []}, "seeds: none given"),
        ({"reference": "fedav"}, "reference: 'fedav' is unknown; did you mean fedavg"),
        ({"epoch": 2}, "'epoch' is unknown; did you mean epochs"),
    ],
)
def test_what_does_not_fit_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(fs.FedstillError, match=message):
        fs.compare(digits, **{"methods": ["fedavg", "local"], **FAST, **arguments})
