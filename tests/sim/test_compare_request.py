"""Which runs a comparison makes, where they lie, and the command that asks for it again."""

import dataclasses
import shlex
from pathlib import Path
from typing import Any

import pytest
from fedstill_proto.errors import UnknownName
from fedstill_sim.cli import app
from fedstill_sim.compare.request import CompareRequest
from fedstill_sim.compare.result import Split
from fedstill_sim.request import RequestError, RunRequest
from typer.testing import CliRunner

RUN = RunRequest(method="local", dataset="digits", devices=4, rounds=2, baselines=(), tradeoff=False)


def request(*splits: Split, **changes: Any) -> CompareRequest:
    return CompareRequest(
        **{"methods": ("local", "fedavg"), "seeds": 2, "run": RUN, "splits": splits, **changes}
    )


def digits(dirichlet: float | None) -> Split:
    return Split(dataset="digits", data=None, dirichlet=dirichlet)


OWN = Split(dataset=None, data=str(Path("mine").absolute()), dirichlet=None)


def test_one_split_keeps_its_runs_side_by_side() -> None:
    jobs = request(digits(0.1)).jobs(Path("out"))

    assert [str(job.folder.relative_to("out/runs")) for job in jobs] == [
        "local-seed0", "fedavg-seed0", "local-seed1", "fedavg-seed1"
    ]  # fmt: skip
    assert {job.request.dirichlet for job in jobs} == {0.1}


def test_each_split_has_a_folder_and_every_method_and_seed() -> None:
    jobs = request(digits(None), digits(0.05), OWN).jobs(Path("out"))

    folders = [job.folder.relative_to("out/runs") for job in jobs]
    assert len(set(folders)) == len(jobs) == 12
    assert {folder.parts[0] for folder in folders} == {"digits", "digits-dirichlet-0.05", "mine"}
    assert [job.request.seed for job in jobs] == [0] * 6 + [1] * 6  # what is stopped early is balanced
    mine = [job.request for job in jobs if job.request.data]
    assert all(run.dataset is None and run.devices is None for run in mine)


def test_the_command_asks_for_the_same() -> None:
    words = shlex.split(request(digits(None), digits(0.05), OWN, reference="local").command())

    assert words[:6] == ["fedstill-sim", "compare", "digits", "--data", OWN.data, "--dirichlet"]
    assert words[6] == "none,0.05"
    assert words[words.index("--reference") + 1] == "local"
    assert words.count("digits") == 1


def test_epsilons_are_splits_and_none_is_no_privacy_at_all() -> None:
    run = dataclasses.replace(RUN, privacy="central", epsilon=2.0, clip=3.0)
    splits = [dataclasses.replace(digits(None), epsilon=epsilon) for epsilon in (None, 2.0, 1.0)]

    asked = request(*splits, run=run)
    jobs = asked.jobs(Path("out"))

    budgets = {job.folder.parts[2]: (job.request.privacy, job.request.epsilon) for job in jobs}
    assert budgets == {
        "digits": (None, None),
        "digits-epsilon-2": ("central", 2.0),
        "digits-epsilon-1": ("central", 1.0),
    }
    words = shlex.split(asked.command())
    assert words[words.index("--epsilon") + 1] == "none,2,1"
    assert words.count("--epsilon") == 1
    noise = dataclasses.replace(RUN, privacy="central", noise_multiplier=2.0)
    assert {job.request.noise_multiplier for job in request(digits(None), run=noise).jobs(Path("out"))} == {2}


def test_a_split_asked_for_twice_is_refused() -> None:
    with pytest.raises(RequestError, match=r"digits-dirichlet-0\.1 is asked for twice"):
        request(digits(0.1), digits(0.1))


def test_each_method_gets_those_of_the_options_that_it_has() -> None:
    run = dataclasses.replace(RUN, method_options={"server_step": "0.2", "propagation_width": "0"})

    asked = request(run=run, methods=("fedstill", "public-logits", "local"), seeds=1)

    options = {job.request.method: job.request.method_options for job in asked.jobs(Path("out"))}
    assert options == {
        "fedstill": {"server_step": "0.2", "propagation_width": "0"},
        "public-logits": {"propagation_width": "0"},
        "local": {},
    }
    words = shlex.split(asked.command())
    assert [words[n + 1] for n, word in enumerate(words) if word == "--set"] == [
        "server_step=0.2", "propagation_width=0"
    ]  # fmt: skip
    with pytest.raises(UnknownName, match="'server_step' is unknown"):
        request(run=run, methods=("public-logits", "local"))


def test_the_reference_is_one_of_the_methods() -> None:
    with pytest.raises(UnknownName, match="--reference: 'public-logits' is unknown"):
        request(reference="public-logits")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--dirichlet", "0.1;1"), "is no list of numbers"),
        (("digits,mnist9", "--seeds", "1"), "'mnist9' is unknown"),
        (("--data", "mine", "--dirichlet", "1"), "a folder brings its own devices"),
        (("--dirichlet", "1,-1"), "--dirichlet: -1.0 is not a number above 0"),
        (("--epsilon", "1,2"), "--epsilon belongs to --privacy central, local or distributed"),
        (("--privacy", "central", "--epsilon", "1;2"), "--epsilon: '1;2' is no list of numbers"),
    ],
)
def test_what_cannot_be_met_claims_no_folder(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    done = CliRunner().invoke(app, ["compare", *words, "--out", str(tmp_path / "out")])

    assert done.exit_code == 2, done.output
    assert said in done.output
    assert not (tmp_path / "out").exists()
