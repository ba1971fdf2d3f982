"""The account of noised releases: a debit before each release, one noise a round, and a chain that holds."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from fedstill_proto.refusal import Refusal
from fedstill_proto.soft_labels.codec import Encoding, SoftLabelCodec
from fedstill_server.config.fleet import FleetConfig
from fedstill_server.consensus.noised_mean import NoisedMean
from fedstill_server.privacy.rule import PrivacyRule
from fedstill_server.rounds import account as module
from fedstill_server.rounds.account import Account, AccountError, Head
from fedstill_server.rounds.fleet_run import FleetRun
from fedstill_server.rounds.round_record import RoundRecord
from fedstill_server.rounds.run_store import RunStore
from flwr.app import Error

from tests.server.scripted_fleet import Script, ScriptedGrid, fleet_config, public_examples

FLOAT32 = SoftLabelCodec(Encoding.FLOAT32)


def central(**changes: object) -> FleetConfig:
    """Noise of the operating system, as a real fleet has it: no two draws are alike."""
    rule = PrivacyRule(mode="central", noise_multiplier=1.0, clip=1.0)
    return fleet_config("public-logits", privacy=rule, uplink=FLOAT32, **changes)


def play(folder: Path, grid: ScriptedGrid | None = None, **changes: object) -> list[RoundRecord]:
    store = RunStore(folder)
    FleetRun(grid or ScriptedGrid(devices=3), central(**changes), public=public_examples(), store=store).run()
    return store.records()


def means(value: float) -> dict[str, NoisedMean]:
    return {"": NoisedMean(np.array([value, -value]), 0.25, 3)}


def test_entries_follow_one_another_and_add_up(tmp_path: Path) -> None:
    account = Account(tmp_path, "0123abcd")
    account.debit(1, means(0.5), rho=0.5, asked=["a", "b"])
    account.debit(2, means(0.75), rho=0.5, asked=["b"])

    again = Account(tmp_path, "0123abcd")
    assert again.head == account.head
    assert (again.most_asked(), again.rho()) == (2, 1.0)
    released = again.released(2)
    assert released is not None
    assert released[""].vector.tolist() == [0.75, -0.75]
    assert (released[""].noise, released[""].devices) == (0.25, 3)
    assert again.released(3) is None


def test_a_round_whose_means_are_not_kept_counts_again(tmp_path: Path) -> None:
    account = Account(tmp_path, "0123abcd")
    for number in range(1, module.KEPT_RELEASES + 2):
        account.debit(number, means(number), rho=0.5, asked=["a"])
    assert account.released(1) is None

    account.debit(1, means(7), rho=0.5, asked=["a"])
    assert Account(tmp_path, "0123abcd").most_asked() == module.KEPT_RELEASES + 2


def test_what_is_not_the_account_that_was_written_is_refused(tmp_path: Path) -> None:
    account = Account(tmp_path / "one", "0123abcd")
    for number in (1, 2, 3):
        account.debit(number, means(number), rho=0.5, asked=["a"])

    def refusal(change: object) -> str:
        folder = tmp_path / "two"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(tmp_path / "one", folder)
        change(folder)  # type: ignore[operator]
        with pytest.raises(AccountError) as refused:
            Account(folder, "0123abcd").check(account.head, by="round 3")
        return str(refused.value)

    assert "000002.json: missing" in refusal(lambda folder: (folder / "000002.json").unlink())
    assert "names entry 3" in refusal(lambda folder: (folder / "000003.json").unlink())
    assert "is empty or lost" in refusal(shutil.rmtree)
    assert "000002.json: damaged" in refusal(
        lambda folder: (folder / "000002.json").write_text(
            (folder / "000002.json").read_text().replace("0.5", "0.4")
        )
    )
    other = Account(tmp_path / "other", "0123abcd")
    other.debit(1, means(1), rho=0.25, asked=["a"])
    assert "an entry was exchanged" in refusal(
        lambda folder: shutil.copy(tmp_path / "other" / "000001.json", folder)
    )
    with pytest.raises(AccountError, match="run '0123abcd'"):
        Account(tmp_path / "one", "another1")


class Killed(BaseException):
    pass


@pytest.mark.parametrize("lost", ["not committed", "rolled back by two"])
def test_a_round_that_was_released_is_never_released_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    def die(*_: object, **__: object) -> None:
        raise Killed

    if lost == "not committed":
        play(tmp_path, rounds=1)
        with monkeypatch.context() as patched:
            patched.setattr(RunStore, "commit", die)
            with pytest.raises(Killed):
                play(tmp_path, rounds=2)
        before, repeated = Account(tmp_path / "server" / "account", "0123abcd"), 2
    else:
        play(tmp_path, rounds=1)
        shutil.copytree(tmp_path / "server", tmp_path / "older")
        play(tmp_path, rounds=3)
        before, repeated = Account(tmp_path / "server" / "account", "0123abcd"), 3
        shutil.copytree(tmp_path / "server" / "account", tmp_path / "older" / "account", dirs_exist_ok=True)
        shutil.rmtree(tmp_path / "server")
        (tmp_path / "older").rename(tmp_path / "server")

    records = play(tmp_path, grid := ScriptedGrid(devices=3), rounds=4)

    after = Account(tmp_path / "server" / "account", "0123abcd")
    assert after.debits[: len(before.debits)] == before.debits
    assert [one.round for one in after.debits] == [1, 2, 3, 4]  # each once, with one noise
    assert {task.round for _, task in grid.tasks} == set(range(repeated + 1, 5))
    assert [record.round for record in records] == [1, 2, 3, 4]
    assert all(record.asked == 3 for record in records)


def test_an_account_that_is_older_than_a_checkpoint_releases_nothing(tmp_path: Path) -> None:
    play(tmp_path, rounds=1)
    shutil.copytree(tmp_path / "server" / "account", tmp_path / "older")
    play(tmp_path, rounds=2)
    shutil.rmtree(tmp_path / "server" / "account")
    (tmp_path / "older").rename(tmp_path / "server" / "account")

    with pytest.raises(AccountError, match=r"names entry 2 of this account, which holds 1 entries"):
        play(tmp_path, grid := ScriptedGrid(devices=3), rounds=3)
    assert not grid.tasks


def test_records_of_central_noise_tell_nothing_of_single_answers(tmp_path: Path) -> None:
    def diverges(_: object) -> Error:
        return Error(code=5, reason="the training diverged")

    fails, works = (
        play(tmp_path / name, ScriptedGrid(devices=3, scripts=scripts), rounds=1)
        for name, scripts in (("fails", {1: diverges}), ("works", {}))
    )
    told = [record.to_json() for (record,) in (fails, works)]
    for document in told:
        for name in ("seconds", "phase_seconds", "consensus_digest", "teacher_accuracy"):
            del document[name]
    assert told[0] == told[1]
    assert {"quarantined", "uplink_bytes", "accepted", "counted"} <= set(told[0]["withheld"])
    assert told[0]["asked"] == 3


def test_a_refusal_by_an_owner_s_rules_is_told_and_no_other(tmp_path: Path) -> None:
    codes = {0: Refusal.POLICY, 1: Refusal.BUDGET, 2: Refusal.FAILED}

    def refuses(refusal: Refusal) -> Script:
        return lambda _: Error(code=refusal.code, reason=refusal.word)

    grid = ScriptedGrid(devices=4, scripts={device: refuses(why) for device, why in codes.items()})
    (record,) = play(tmp_path, grid, rounds=1)

    assert {entry.device: entry.reason for entry in record.quarantined} == {
        "device-0": "policy",
        "device-1": "budget",
    }


def test_the_first_head_is_that_of_an_empty_account(tmp_path: Path) -> None:
    account = Account(tmp_path, "0123abcd")
    assert account.head == Head()
    account.check(Head(), by="the preparation")
