"""A private run from the command line: what it says that it spent, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
from fedstill_server.privacy.accountant import epsilon_of_rounds
from fedstill_sim.results.run_result import read_result

from tests.system.test_run import SMALL, fedstill_sim


def test_a_private_run_says_what_it_spent(tmp_path: Path) -> None:
    out = tmp_path / "run"
    words = ("--privacy", "central", "--noise-multiplier", 2, "--baselines", "none", "--no-tradeoff")
    done = fedstill_sim("run", "digits", *SMALL, *words, "--out", out)
    assert done.exit_code == 0, done.output

    spent = read_result(out / "result.json").privacy
    assert spent is not None
    assert (spent.rounds, spent.rho) == (2, 2 / 8)
    assert spent.epsilon == epsilon_of_rounds(2.0, 2, 1e-5)
    assert spent.epsilon < spent.zcdp_epsilon == pytest.approx(3.17, abs=0.02)
    assert "epsilon 2.94 at delta 1e-05" in (out / "report.html").read_text()
    assert "epsilon 2.94 at delta 1e-05" in " ".join(done.output.split())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("--method", "fedmd", "--privacy", "central", "--epsilon", 1),
            "'fedmd' has no diff",
        ),
        (("--privacy", "central", "--epsilon", 0), "epsilon"),
        (("--privacy", "central", "--epsilon", 1, "--delta", 1), "--delta"),
        (("--privacy", "central", "--noise-multiplier", 1, "--mode", "async"), "mode: 'async' is not rounds"),
        (("--privacy", "central", "--noise-multiplier", 1, "--uplink", "dense,4bit,log,entropy"), "entropy"),
    ],
)
def test_what_cannot_be_promised_is_refused(words: tuple[object, ...], said: str, tmp_path: Path) -> None:
    done = fedstill_sim("run", "digits", *SMALL, *words, "--baselines", "none", "--out", tmp_path / "run")
    assert done.exit_code == 2
    assert said in " ".join(done.output.split())
    assert not (tmp_path / "run").exists()
