"""A distillation as a person asks for it: the task, the recipes, the folder that comes out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fedstill_proto.errors import FedstillError, UnknownName
from fedstill_proto.package.artifact import load_student
from fedstill_server import cli
from fedstill_server.config.codec import ConfigError
from fedstill_server.data.examples import Examples
from fedstill_server.distill.errors import DistillError
from fedstill_server.distill.layers import inner_layers
from fedstill_server.distill.plan import DistillPlan
from fedstill_server.distill.recipes.assistants import Assistants
from fedstill_server.distill.recipes.born_again import BornAgain
from fedstill_server.distill.recipes.data_free import DeepInversion
from fedstill_server.distill.recipes.pruning import StructuredPruning, pruned_parameters, unit_importance
from fedstill_server.distill.registry import TECHNIQUES
from fedstill_server.distill.request import DistillRequest, read_request
from fedstill_server.distill.run import distil
from fedstill_server.distill.stage_runner import StageRunner, network_of
from fedstill_server.distill.synthetic import Canvas, noise_examples, one_hot_examples
from fedstill_server.distill.tasks import open_task
from fedstill_server.distill.teachers import TorchTeacher
from fedstill_server.distill.techniques.kd import KnowledgeDistillation
from fedstill_server.state import digest_of
from fedstill_server.training.networks import accuracy_of, logits_of
from torch import nn
from typer.testing import CliRunner

from tests.server.distill_samples import PLAN, corners, job, taught

KD = (KnowledgeDistillation(),)


@pytest.fixture(scope="module")
def teacher() -> TorchTeacher:
    return taught()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A task of one's own."""
    place = tmp_path / "task"
    place.mkdir()
    for name, seed, count in (("public", 1, 80), ("private", 2, 20), ("validation", 3, 40), ("test", 4, 60)):
        x, y = corners(count, seed=seed)
        np.savez(place / f"{name}.npz", **({"x": x} if name == "public" else {"x": x, "y": y}))
    return place


def invoked(*arguments: str) -> str:
    result = CliRunner(env={"COLUMNS": "200"}).invoke(cli.cli, arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_from_the_command_line_to_a_package(folder: Path, tmp_path: Path) -> None:
    config = tmp_path / "distill.toml"
    config.write_text(
        'technique = ["fitnets", "exits", "kd"]\nfamily = "mlp-20-6"\n'
        "[plan]\nbatch_size = 16\nepochs = 9\n[options.fitnets]\nweight = 0.5\n"
    )
    out = tmp_path / "out"

    arguments = ["distill", "--task", str(folder), "--teacher", "train:mlp-9-8", "--config", str(config)]
    document = json.loads(invoked(*arguments, "--epochs", "3", "--out", str(out), "--json", "--tensorboard"))

    package = load_student(out / "student")
    assert package.manifest.family == "mlp-20-6"
    assert [spec.name for spec in package.manifest.parameters] == [
        f"{layer}.{part}" for layer in ("hidden.0", "hidden.1", "output") for part in ("weight", "bias")
    ]
    assert dict(package.manifest.quality)["accuracy"] == document["accuracy"]
    assert load_student(out / "exits" / "mlp-20").manifest.family == "mlp-20"
    assert list((out / "tensorboard").iterdir())
    assert not (out / "checkpoints").exists()
    kept = json.loads((out / "distill.json").read_text())
    assert kept["request"]["plan"]["epochs"] == 3
    assert kept["request"]["options"] == {"fitnets": {"weight": 0.5}}


def test_stopped_by_hand_it_says_how_to_go_on(folder: Path, tmp_path: Path) -> None:
    words = ["distill", "--task", str(folder), "--technique", "none", "--family", "mlp-4"]

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fedstill_server.distill.stage_runner.train", stop)
        result = CliRunner().invoke(cli.cli, [*words, "--out", str(tmp_path / "out")])

    assert result.exit_code == 130
    assert "goes on from the last checkpoint" in result.stderr
    document = json.loads(invoked(*words, "--epochs", "1", "--out", str(tmp_path / "out"), "--json"))
    assert document["teacher_accuracy"] is None


def test_techniques_are_those_there_are() -> None:
    document = json.loads(invoked("techniques", "--json"))
    assert set(document) == {*TECHNIQUES}
    assert all(one["line"] and one["source"] for one in document.values())
    assert "1503.02531" in invoked("techniques")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"technique": ["kd", "magic"]}, "'magic' is unknown"),
        ({"technique": ["kd", "kd"]}, "names one twice"),
        ({"technique": ["born-again", "dafl"]}, "cannot be combined"),
        ({"options": {"rkd": {}}}, "options.rkd: is not among"),
        ({"plan.temperature": 0.0}, "plan.temperature"),
        ({"plan.warmth": 1.0}, "plan.warmth: unknown setting"),
    ],
)
def test_a_wrong_request_is_said(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_request(None, changes)


def test_options_are_checked_when_they_are_used() -> None:
    with pytest.raises(
        UnknownName, match="technique fitnets: option: 'wight' is unknown; did you mean weight"
    ):
        DistillRequest(technique=("fitnets",), options={"fitnets": {"wight": 1.0}}).techniques()


def test_digits_are_cut_without_overlap() -> None:
    task = open_task("digits", seed=3, private_labels=100)
    assert [len(part) for part in (task.test, task.validation, task.private, task.public)] == [
        500,
        100,
        100,
        1097,
    ]
    assert task.public.y is None
    assert len(task.teaching) == 1197
    assert task.test_groups is not None
    assert len(set(task.test_groups)) == 14
    again, other = open_task("digits", seed=3), open_task("digits", seed=4)
    assert np.array_equal(again.test.x, task.test.x)
    assert not np.array_equal(other.test.x, task.test.x)
    assert open_task("digits", public_labels=True).public.y is not None


def test_a_folder_without_a_test_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DistillError, match=r"public\.npz is missing"):
        open_task(str(tmp_path))


def runner(folder: Path | None = None) -> StageRunner:
    x, y = corners(200, seed=8)
    return StageRunner(folder=folder, validation=Examples(x, y))


def test_generations_end_where_validation_falls(teacher: TorchTeacher) -> None:
    shop = runner()
    made = BornAgain(generations=2).run(job(teacher=teacher, techniques=KD), shop)
    scores = [float(part.rstrip("%")) for part in shop.notes[0].partition("validation ")[2].split(", ")]
    assert len(scores) >= 3
    assert round(100 * shop.accuracy(network_of(job(), made)), 1) == max(scores)


def test_assistants_teach_in_turn(teacher: TorchTeacher) -> None:
    shop = runner()
    made = Assistants(families=("mlp-10", "mlp-8")).run(job(teacher=teacher, techniques=KD), shop)
    assert (made.family, shop.trainings) == ("mlp-6", 3)


@pytest.mark.parametrize("name", ["deep-inversion", "dafl", "dfad", "noise"])
def test_no_data_is_looked_at(name: str, teacher: TorchTeacher) -> None:
    options = {} if name == "noise" else {"steps": 20}
    recipe = TECHNIQUES.load(name)(count=64, **options)
    one, other = corners(40, seed=1), corners(40, seed=2)
    before = digest_of({"x": teacher.answer(one[0]).logits})

    made = [recipe.run(job(x=x, labels=y, teacher=teacher, techniques=KD), runner()) for x, y in (one, other)]

    assert digest_of(made[0].parameters) == digest_of(made[1].parameters)
    assert digest_of({"x": teacher.answer(one[0]).logits}) == before
    assert all(value.requires_grad for value in teacher.network.parameters())


def test_inverted_examples_are_what_the_teacher_wants_to_see(teacher: TorchTeacher) -> None:
    x = DeepInversion(count=80, steps=60).examples(job(teacher=teacher), _canvas())
    sure = (teacher.answer(x).logits.argmax(-1) == np.arange(80) % 4).mean()
    assert sure > 0.8
    assert x.min() >= 0
    assert x.max() <= 1


def _canvas() -> Canvas:
    return Canvas(shape=(4, 4), classes=4, count=80)


def test_examples_of_much_contrast_are_near_their_ends(teacher: TorchTeacher) -> None:
    uniform, sharp = noise_examples(_canvas()), noise_examples(_canvas(), contrast=50)
    assert ((uniform < 0.1) | (uniform > 0.9)).mean() == pytest.approx(0.2, abs=0.05)
    assert ((sharp < 0.1) | (sharp > 0.9)).mean() > 0.9

    made = {
        contrast: one_hot_examples(teacher.network, _canvas(), steps=30, contrast=contrast)
        for contrast in (0.5, 8.0)
    }
    assert made[8.0].std(axis=0).mean() > 2 * made[0.5].std(axis=0).mean()  # of each value over examples


def test_a_black_box_has_no_gradients() -> None:
    with pytest.raises(DistillError, match="needs the teacher's gradients"):
        DeepInversion().run(job(), runner())


def test_pruning_reaches_the_family_that_was_asked_for(teacher: TorchTeacher) -> None:
    made = StructuredPruning(rounds=2).run(job(teacher=teacher, techniques=KD), runner())
    assert made.family == "mlp-6"
    assert made.parameters["hidden.0.weight"].shape == (6, 16)


def test_units_that_do_nothing_go_first_and_are_not_missed(teacher: TorchTeacher) -> None:
    base = job(teacher=teacher, techniques=KD, family="mlp-5-4")
    made = StageRunner().train("wide", base)
    made.parameters["hidden.1.weight"][:, 2] = 0  # nobody listens to unit 2
    importance = unit_importance(base, made)

    kept = pruned_parameters(made.parameters, importance, np.array([4, 4]))

    assert importance[0].argmin() == 2
    smaller = replace(made, family="mlp-4-4", parameters=kept)
    np.testing.assert_allclose(
        logits_of(network_of(base, smaller), base.x), logits_of(network_of(base, made), base.x), atol=1e-5
    )


def test_a_recipe_that_was_killed_reads_its_finished_stages(teacher: TorchTeacher, tmp_path: Path) -> None:
    recipe, base = Assistants(families=("mlp-10",)), job(teacher=teacher, techniques=KD)
    whole = recipe.run(base, runner())
    first: list[str] = []
    again: list[str] = []

    class Killed(Exception):
        pass

    def kill(stage: str, report: object) -> None:
        first.append(stage)
        if stage == "student":
            raise Killed

    shop = runner(tmp_path)
    shop.watch = kill
    with pytest.raises(Killed):
        recipe.run(base, shop)
    shop.watch = lambda stage, report: again.append(stage)
    resumed = recipe.run(base, shop)

    assert first == ["assistant-0-mlp-10"] * PLAN.epochs + ["student"]
    assert set(again) == {"student"}
    assert digest_of(resumed.parameters) == digest_of(whole.parameters)


def test_students_learn_without_data_what_noise_does_not_teach() -> None:
    teacher = taught(epochs=30)
    x, y = corners(300, seed=9)

    def accuracy(name: str) -> float:
        base = job(teacher=teacher, techniques=KD, plan=replace(PLAN, epochs=6))
        made = TECHNIQUES.load(name)(count=300).run(base, runner())
        return accuracy_of(network_of(base, made), x, y)

    assert accuracy("deep-inversion") > accuracy("noise")
    assert inner_layers(teacher.network)


# Of one's own

OWN = "tests.server.own_techniques"
DISTANCE = f"{OWN}:LogitDistance"


def test_techniques_and_recipes_of_ones_own_are_named_by_module(folder: Path, tmp_path: Path) -> None:
    request = DistillRequest(
        task=str(folder),
        teacher=("train:mlp-9",),
        family="mlp-4",
        technique=(f"{OWN}:ShortThenLong", DISTANCE, "kd"),
        plan=DistillPlan(epochs=2, batch_size=16),
        options={DISTANCE: {"margin": 0.5}},
    )

    outcome = distil(request, tmp_path / "out")

    assert outcome.notes == ("trained twice",)
    assert request.techniques()[0].margin == 0.5  # type: ignore[attr-defined]


def test_an_installed_technique_is_listed_with_where_it_is_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "distances-1.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: distances\nVersion: 1.1\n")
    points = [f"logit-distance = {OWN}:LogitDistance", "gone = nowhere_at_all:Gone"]
    (info / "entry_points.txt").write_text("\n".join(["[fedstill.techniques]", *points, ""]))
    monkeypatch.syspath_prepend(tmp_path)

    document = json.loads(invoked("techniques", "--json"))

    assert document["logit-distance"]["origin"] == "distances 1.1"
    assert "nowhere_at_all cannot be imported" in document["gone"]["line"]
    assert document["kd"]["origin"] == "built in"
    assert "arXiv 1312.6184); distances 1.1" in invoked("techniques")
    assert DistillRequest(technique=("logit-distance",)).techniques()[0].name == "logit-distance"


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (["NUMBER"], "NUMBER: a int that derives from neither"),
        (["LogitDistanse"], "'LogitDistanse' is unknown; did you mean LogitDistance?"),
        (["_Distance"], "_Distance: a class that derives from neither"),
        (["Nameless"], "Nameless: it says nothing of its name; set each to a text"),
        (["AlsoKd", "AlsoKd2"], "two are called kd; give yours a name of its own"),
        (["Listed"], "Listed.table: an option is an int, float, str or bool"),
    ],
)
def test_what_is_no_technique_is_refused(names: list[str], problem: str) -> None:
    with pytest.raises(FedstillError) as refused:
        DistillRequest(technique=tuple(f"{OWN}:{name}" for name in names)).techniques()

    assert problem in str(refused.value)


@pytest.mark.parametrize(
    ("settings", "options"),
    [
        (["margin=0.5"], {DISTANCE: {"margin": 0.5}}),
        (
            [f"{DISTANCE}.margin=0.5", "fitnets.weight=2"],
            {DISTANCE: {"margin": 0.5}, "fitnets": {"weight": 2.0}},
        ),
        (
            ["layers=hidden.0=hidden.1", "falling=no"],
            {"fitnets": {"layers": "hidden.0=hidden.1", "falling": False}},
        ),
    ],
)
def test_a_command_line_sets_options(settings: list[str], options: dict[str, object]) -> None:
    request = DistillRequest(technique=(DISTANCE, "fitnets"))

    assert request.with_settings(settings).options == options


def test_a_command_line_sets_options_of_the_plan() -> None:
    request = DistillRequest(plan=DistillPlan(epochs=3)).with_settings(["plan.temperature=2", "weight=3"])

    assert request.plan == DistillPlan(epochs=3, temperature=2.0)
    assert request.techniques()[0].weight == 3.0


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        ("margin", "--set: 'margin' is not option=value or technique.option=value"),
        ("weight=2", f"--set weight: say of which, {DISTANCE}.weight or fitnets.weight"),
        ("margn=2", "--set: option: 'margn' is unknown; did you mean margin"),
        ("fitnets.layer=last", "--set: fitnets: option: 'layer' is unknown; did you mean layers"),
        ("kd.weight=2", "--set kd.weight=2: kd is not among the techniques asked for"),
        ("margin=-1", f"--set {DISTANCE}.margin: -1.0 is not a number of 0 or more"),
        ("plan.epochs=few", "--set plan.epochs: 'few' is not a whole number of 1 or more"),
    ],
)
def test_a_setting_that_cannot_be_is_said(setting: str, problem: str) -> None:
    with pytest.raises(FedstillError) as refused:
        DistillRequest(technique=(DISTANCE, "fitnets")).with_settings([setting])

    assert problem in str(refused.value)


def test_a_technique_s_options_are_listed() -> None:
    told = invoked("techniques", DISTANCE)
    document = json.loads(invoked("techniques", "rkd", "--json"))

    assert "margin" in told
    assert "Squared distances" in told
    assert document["options"]["angle_examples"]["what"] == "a whole number of 3 or more"
    assert document["options"]["angle_examples"]["default"] == 20


def test_two_recipes_of_ones_own_cannot_both_lead() -> None:
    with pytest.raises(FedstillError, match="cannot be combined"):
        DistillRequest(technique=(f"{OWN}:ShortThenLong", "born-again")).recipe()


def forgetting_network() -> nn.Module:
    """A student of one's own that leaves out units at random while it learns."""
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 9), nn.Dropout(0.2), nn.ReLU(), nn.Linear(9, 4))


def test_a_student_that_draws_random_numbers_is_the_same_every_time(folder: Path, tmp_path: Path) -> None:
    request = DistillRequest(
        task=str(folder),
        teacher=("train:mlp-9",),
        family=f"forgetting={__name__}:forgetting_network",
        plan=DistillPlan(epochs=3, batch_size=16),
    )

    first, again = (load_student(distil(request, tmp_path / name).package) for name in ("a", "b"))

    assert all(np.array_equal(first.parameters[name], again.parameters[name]) for name in first.parameters)


def small_network() -> nn.Module:
    """A student of one's own."""
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 5), nn.Tanh(), nn.Linear(5, 4))


def test_any_module_can_be_the_student(folder: Path, tmp_path: Path) -> None:
    plan = DistillPlan(epochs=3, batch_size=16)
    place = f"small={__name__}:small_network"
    request = DistillRequest(task=str(folder), teacher=("train:mlp-9",), family=place, plan=plan)

    outcome = distil(request, tmp_path / "out")

    package = load_student(outcome.package)
    assert package.manifest.family == outcome.family == "small"
    assert json.loads((tmp_path / "out" / "distill.json").read_text())["request"]["family"] == place
    assert package.manifest.parameter_count == outcome.parameters == 16 * 5 + 5 + 5 * 4 + 4
