"""The next generation of a fleet: what it takes over, how it comes into force, and what it refuses."""

from __future__ import annotations

import dataclasses
import functools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from fedstill_proto.errors import FedstillError
from fedstill_proto.system import folder_digests, sealed
from fedstill_server.cli import cli
from fedstill_server.config.fleet import FleetConfig
from fedstill_server.fleet import generations as rooms
from fedstill_server.fleet.errors import FleetError
from fedstill_server.fleet.folder import FleetFolder, FleetSettings
from fedstill_server.fleet.generation_list import changes_between, generations
from fedstill_server.fleet.generations import (
    config_in_force,
    discard_generation,
    in_force,
    staged_generation,
    switch_generation,
)
from fedstill_server.operations.database import FleetDatabase
from fedstill_server.privacy.accountant import epsilon_of_rounds
from fedstill_server.publish.repository import Repository
from fedstill_server.rounds import run_store
from fedstill_server.rounds.events import Collected, Event, subscribe
from fedstill_server.rounds.fleet_run import FleetRun
from fedstill_server.rounds.pacing import AtOnce
from fedstill_server.rounds.run_store import RunStore
from fedstill_server.run_folder import read_fleet_config
from fedstill_server.state import digest_of
from fedstill_server.tasks import load_public
from typer.testing import CliRunner, Result

from tests.server.scripted_fleet import ScriptedGrid, public_examples
from tests.server.test_fleet_folder import key_file

QUICK = ("--set", "fewest_rows=0", "--round-epochs", 1, "--epochs", 1, "--deadline", 0.2)
QUICK += ("--encoding", "uint8")


def run(command: str, fleet: FleetFolder, *words: object) -> Result:
    done = CliRunner().invoke(cli, [command, str(fleet.folder), *map(str, words)])
    if done.exception is not None and not isinstance(done.exception, SystemExit | FedstillError):
        raise done.exception
    return done


def refused(command: str, fleet: FleetFolder, *words: object) -> str:
    done = run(command, fleet, *words)
    assert done.exit_code != 0
    return str(done.exception) + done.output


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fleet that is prepared for 3 rounds of public-logits; two were done."""
    folder = tmp_path_factory.mktemp("generations")
    examples = public_examples()
    assert examples.y is not None
    np.savez(folder / "public.npz", x=examples.x, y=examples.y)
    settings = FleetSettings(host="localhost", port=8443, superlink_port=8000)
    fleet = FleetFolder.create(folder / "fleet", settings)
    Repository.create(fleet.folder)
    words = ("--public", folder / "public.npz", "--method", "public-logits", "--rounds", 3)
    done = run("prepare", fleet, *words, *QUICK)
    assert done.exit_code == 0, done.output
    play(fleet, until=2)
    return folder


@pytest.fixture
def fleet(prepared: Path, tmp_path: Path) -> FleetFolder:
    shutil.copytree(prepared, tmp_path / "copy")
    return FleetFolder.open(tmp_path / "copy" / "fleet")


def play(fleet: FleetFolder, *, until: int | None = None, grid: ScriptedGrid | None = None) -> ScriptedGrid:
    """The rounds of the generation in force, in this process."""
    folder, config = fleet.folder, read_fleet_config(fleet.folder)
    if until is not None:
        config = dataclasses.replace(config, rounds=until)
    grid = grid or ScriptedGrid(devices=2, generation=config.generation)
    public = load_public(folder, config)
    FleetRun(grid, config, public=public, store=RunStore(folder), pacing=Guarded(folder, config)).run()
    return grid


class Guarded(AtOnce):
    """One round after the other, while their generation is in force."""

    def __init__(self, folder: Path, config: FleetConfig) -> None:
        super().__init__(config.rounds, config.cohort)
        self.in_force = functools.partial(in_force, folder, config.generation)  # type: ignore[method-assign]


def state_digest(fleet: FleetFolder) -> str:
    checkpoint = RunStore(fleet.folder).latest()
    assert checkpoint is not None
    return digest_of(checkpoint.state.flat())


def stage(fleet: FleetFolder, *words: object) -> str:
    done = run("prepare", fleet, *words)
    assert done.exit_code == 0, str(done.exception) + done.output
    return done.output


class TestPrepare:
    def test_what_is_not_said_is_taken_over_and_rounds_go_on_meanwhile(self, fleet: FleetFolder) -> None:
        before = read_fleet_config(fleet.folder)

        said = stage(fleet, "--learning-rate", 0.005, "--set", "server_rate=0.5")

        assert "staged generation 2, 3 rounds of public-logits" in said
        assert "training.learning_rate: 0.005, was 0.02" in said
        staged = staged_generation(fleet.folder)
        assert staged is not None
        assert read_fleet_config(fleet.folder) == before  # the one in force goes on
        changed = dataclasses.replace(
            before,
            generation=2,
            begins_after=2,
            rounds=5,
            training=dataclasses.replace(before.training, learning_rate=0.005),
            method=dataclasses.replace(before.method, options={**before.method.options, "server_rate": 0.5}),
        )
        assert staged.config == changed
        assert (staged.facts.carried.teacher, staged.facts.carried.method) == (True, True)
        play(fleet)
        assert [record.round for record in RunStore(fleet.folder).records()] == [1, 2, 3]

    def test_a_fleet_that_an_earlier_release_prepared_has_a_next_one_too(self, fleet: FleetFolder) -> None:
        file = fleet.folder / "config.json"
        document = sealed.read_sealed_json(file)
        sealed.write_sealed_json(file, {"fleet": document["fleet"]})

        stage(fleet, "--epochs", 2)

        before, staged = read_fleet_config(fleet.folder), staged_generation(fleet.folder)
        assert staged is not None
        assert changes_between(before, staged.config, same_public=True) == ("training.epochs: 2, was 1",)
        assert switch_generation(fleet.folder).generation == 2

    def test_a_new_family_is_taught_and_the_old_one_goes_on(self, fleet: FleetFolder) -> None:
        stage(fleet, "--families", "mlp-small,mlp-16")
        play(fleet)  # round 3: what the staged one takes over is newer than when it was prepared
        newest = RunStore(fleet.folder).latest()
        assert newest is not None

        config = switch_generation(fleet.folder)

        after = RunStore(fleet.folder).latest()
        assert after is not None
        assert (config.begins_after, config.rounds) == (3, 6)
        assert (after.round, after.generation, after.installed) == (3, 2, newest.installed)
        assert sorted(after.state.students) == ["mlp-16", "mlp-small"]
        old, new = newest.state.students["mlp-small"], after.state.students["mlp-small"]
        assert digest_of(new) == digest_of(old)
        assert digest_of(after.state.teacher) == digest_of(newest.state.teacher)
        grid = play(fleet, grid=ScriptedGrid(devices=2, families=("mlp-small", "mlp-16"), generation=2))
        assert {task.generation for _, task in grid.tasks} == {2}
        assert [record.accepted for record in RunStore(fleet.folder).records()] == [2] * 6

    def test_another_public_set_is_read_as_the_first_one_was(self, fleet: FleetFolder) -> None:
        other = public_examples(seed=3)
        file = fleet.folder.parent / "other.npz"
        np.savez(file, x=other.x[:9], y=other.y[:9])  # type: ignore[index]

        said = stage(fleet, "--public", file)

        staged, before = staged_generation(fleet.folder), read_fleet_config(fleet.folder)
        assert staged is not None
        assert "another public set" in said
        assert staged.config.input_rule == before.input_rule
        assert not staged.facts.carried.method  # its soft labels are of rows that are gone
        switch_generation(fleet.folder)
        assert len(load_public(fleet.folder, config_in_force(fleet.folder))) == 9
        assert play(fleet).tasks

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (("--normalize", "unit"), "--normalize: belongs to a public set"),
            (("--public", "shape"), "input_shape: .* is another fleet"),
            (("--public", "classes"), "y: label 4, but there are 3 classes"),
            (("--families", "cnn"), "no registered device has one of these; they have mlp-small"),
            (("--rounds", "-1"), "rounds"),
        ],
    )
    def test_what_no_device_could_take_is_refused(
        self, fleet: FleetFolder, words: tuple[str, str], said: str
    ) -> None:
        from fedstill_server.fleet.devices import DeviceRegister

        DeviceRegister(fleet.devices).add(key_file(fleet.folder.parent), "kitchen")
        with FleetDatabase.open(fleet.folder) as database:
            database.note_device("kitchen", family="mlp-small")
            database.note_device("gone", family="cnn")
        for name, shape, classes in (("shape", 7, 3), ("classes", 4, 5)):
            file = fleet.folder.parent / f"{name}.npz"
            np.savez(file, x=np.zeros((10, shape), np.float32), y=np.arange(10) % classes)
        given = [fleet.folder.parent / f"{w}.npz" if w in ("shape", "classes") else w for w in words]

        import re

        assert re.search(said, refused("prepare", fleet, *given))
        assert staged_generation(fleet.folder) is None

    def test_one_is_staged_at_a_time_and_a_discarded_number_is_gone(self, fleet: FleetFolder) -> None:
        stage(fleet, "--epochs", 2)
        assert "generation 2 is staged already" in refused("prepare", fleet, "--epochs", 3)
        assert discard_generation(fleet.folder) == 2
        stage(fleet, "--epochs", 3)
        listed = generations(fleet.folder)
        assert [(one.number, one.state) for one in listed] == [
            (1, "in force"),
            (2, "discarded"),
            (3, "staged"),
        ]
        assert listed[2].changes == ("training.epochs: 3, was 1",)
        switch_generation(fleet.folder)
        with pytest.raises(FleetError, match="no generation is staged"):
            switch_generation(fleet.folder)
        assert [(one.first_round, one.last_round) for one in generations(fleet.folder)] == [
            (1, 2),
            (None, None),
            (None, None),
        ]
        assert json.loads(run("generations", fleet, "--json").output)[2]["state"] == "in force"


class TestSwitch:
    def test_a_round_that_was_open_counts_for_nothing(self, fleet: FleetFolder) -> None:
        stage(fleet, "--epochs", 2)
        store = RunStore(fleet.folder)

        def switch(event: Event) -> None:
            if isinstance(event, Collected) and event.round == 3 and store.last_round() == 2:
                with rooms.settled(fleet.folder):
                    staged = rooms._staged(fleet.folder, 1)
                if staged is not None:
                    switch_generation(fleet.folder)

        with subscribe(switch):
            play(fleet)
        assert [record.round for record in store.records()] == [1, 2]
        play(fleet)
        records = store.records()
        assert [record.round for record in records] == [1, 2, 3, 4, 5]
        assert [record.accepted for record in records] == [2] * 5
        with pytest.raises(rooms.GenerationOver), in_force(fleet.folder, 1):
            pass

    def test_every_write_of_it_can_be_the_last(
        self, fleet: FleetFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        stage(fleet, "--families", "mlp-small,mlp-16", "--public", fleet.folder.parent / "public.npz")
        before = read_fleet_config(fleet.folder), state_digest(fleet)
        fresh = tmp_path / "fresh"
        shutil.copytree(fleet.folder, fresh)
        switch_generation(fleet.folder)
        wanted = read_fleet_config(fleet.folder), state_digest(fleet)
        seen, finished, writes = set(), False, 0
        while not finished:
            shutil.rmtree(fleet.folder)
            shutil.copytree(fresh, fleet.folder)
            with monkeypatch.context() as patched:
                cut_after(writes, patched)
                try:
                    switch_generation(fleet.folder)
                    finished = True
                except PowerCut:
                    writes += 1
            now = config_in_force(fleet.folder), state_digest(fleet)
            assert now in (before, wanted)
            seen.add(now[0].generation)
            fleet.digests.check()
            assert (staged_generation(fleet.folder) is None) == (now == wanted)
        assert seen == {1, 2}
        assert writes >= 8
        play(fleet, grid=ScriptedGrid(devices=2, families=("mlp-small", "mlp-16"), generation=2))

    def test_publish_offers_its_packages_and_puts_it_into_force(self, fleet: FleetFolder) -> None:
        run("publish", fleet)
        stage(fleet, "--epochs", 2)
        done = run("publish", fleet)
        assert done.exit_code == 0, str(done.exception)
        assert config_in_force(fleet.folder).generation == 2
        assert Repository.open(fleet.folder).published()["mlp-small"].package_version == 2
        manifest = next((fleet.folder / "repository/targets/students").glob("*.mlp-small.json"))
        versions = [json.loads(path.read_bytes()) for path in manifest.parent.glob("*.json")]
        assert {str(one.get("generation", 1)) for one in versions} == {"1", "2"}


class TestPrivacy:
    @pytest.fixture
    def private(self, tmp_path: Path) -> FleetFolder:
        examples = public_examples()
        np.savez(tmp_path / "public.npz", x=examples.x, y=examples.y)  # type: ignore[arg-type]
        settings = FleetSettings(host="localhost", port=8443, superlink_port=8000)
        fleet = FleetFolder.create(tmp_path / "fleet", settings)
        privacy = ("--privacy", "central", "--noise-multiplier", 3.9, "--rounds", 4)
        words = ("--public", tmp_path / "public.npz", "--method", "public-logits", *privacy, *QUICK)
        assert run("prepare", fleet, *words).exit_code == 0
        return fleet

    def test_all_generations_spend_of_one_budget(self, private: FleetFolder) -> None:
        first = read_fleet_config(private.folder)
        play(private, until=2)
        stage(private, "--rounds", 6, "--epsilon", 2)
        staged = staged_generation(private.folder)
        assert staged is not None
        assert first.privacy is not None
        assert staged.config.privacy is not None
        # 2 rounds at the first noise and 6 at the second come to no more than epsilon: 1 / z^2 adds up.
        z = [first.privacy.noise_multiplier, staged.config.privacy.noise_multiplier]
        together = (2 / z[0] ** 2 + 6 / z[1] ** 2) ** -0.5
        assert 1.99 < epsilon_of_rounds(together, 1, 1e-5) <= 2

        play(private, until=3)  # while it is staged, another round spends of the same
        config = switch_generation(private.folder)
        spent = 3 / z[0] ** 2 + config.own_rounds / z[1] ** 2
        assert config.own_rounds == 2  # one of the first costs what 3.3 of these do
        assert epsilon_of_rounds(spent**-0.5, 1, 1e-5) <= 2
        play(private)
        store = RunStore(private.folder)
        assert [debit.round for debit in store.account(config.run).debits] == [1, 2, 3, 4, 5]

    def test_means_that_were_released_for_a_round_that_is_dropped_are_not_used_again(
        self, private: FleetFolder
    ) -> None:
        play(private, until=1)
        stage(private, "--epsilon", 20, "--public", private.folder.parent / "public.npz")
        released = RunStore(private.folder)
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(RunStore, "commit", _power_cut)
            with pytest.raises(PowerCut):
                play(private, until=2)
        switch_generation(private.folder)
        config = read_fleet_config(private.folder)
        assert released.account(config.run).released(2) is None
        play(private, until=2)
        assert [debit.round for debit in released.account(config.run).debits] == [1, 2, 2]

    def test_a_budget_that_is_spent_is_one_line(self, private: FleetFolder) -> None:
        play(private)
        said = refused("prepare", private, "--epsilon", 1)
        assert "--epsilon: 1 at delta 1e-05 is spent by the rounds so far" in said
        assert staged_generation(private.folder) is None


class PowerCut(BaseException):
    """The power fails."""


def _power_cut(*_: object, **__: object) -> None:
    raise PowerCut


def cut_after(writes: int, patched: pytest.MonkeyPatch) -> None:
    """Let the power fail instead of the next write, or the next removal, after this many."""
    write, unlink, done = sealed.replace_file, Path.unlink, iter(range(writes))

    def failing(path: Path, content: bytes, *, mode: int = 0o600) -> None:
        if next(done, None) is None:
            raise PowerCut
        write(path, content, mode=mode)

    def failing_unlink(path: Path, missing_ok: bool = False) -> None:
        if path.name == "switch.json" and next(done, None) is None:
            raise PowerCut
        unlink(path, missing_ok=missing_ok)

    for module in (folder_digests, sealed, run_store):
        patched.setattr(module, "replace_file", failing)
    patched.setattr(Path, "unlink", failing_unlink)
