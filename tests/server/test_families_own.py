"""Student families of one's own: their names, how they are called, and what is refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from fedstill_proto.errors import FedstillError, UnknownName
from fedstill_proto.messages import Optimizer
from fedstill_proto.package.artifact import TrainingArtifact
from fedstill_server.config.codec import ConfigError
from fedstill_server.config.fleet import FleetConfig
from fedstill_server.export import ArtifactOptions, build_artifact
from fedstill_server.export.structure import structure_of
from fedstill_server.families import FAMILIES, build_student, initial_parameters
from fedstill_server.families.tokens import tokens_known
from fedstill_server.plugins import PluginError
from fedstill_server.tasks import training_of
from torch import Tensor, nn

from tests.server.scripted_fleet import fleet_config

OWN = "tests.server.own_families"


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test names is not named for the next one."""
    monkeypatch.setattr(FAMILIES, "_places", {})
    monkeypatch.setattr(FAMILIES, "_registered", {})


# Names


def test_names_are_fit_for_files_and_say_where_families_lie() -> None:
    words = ["mlp-small", "mlp-64-32", f"{OWN}:TinyNet", f"small={OWN}:fixed"]

    named = FAMILIES.named(words)

    assert named == {"mlp-small": "", "mlp-64-32": "", "TinyNet": f"{OWN}:TinyNet", "small": f"{OWN}:fixed"}
    assert "TinyNet" in FAMILIES
    assert FAMILIES.origin("TinyNet") == OWN
    assert FAMILIES.origin("mlp-64-32") == FAMILIES.origin("cnn") == "built in"
    assert [FAMILIES.is_own(name) for name in named] == [False, False, True, True]


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["resnet"], "--families: 'resnet' is unknown; there are mlp-small"),
        (["mlp-smal"], "did you mean mlp-small"),
        (["cnn", "cnn"], "cnn is named twice"),
        (
            [f"cnn={OWN}:fixed"],
            f"the name 'cnn' is taken (built in); give yours another one, as in other-name={OWN}",
        ),
        ([f"mlp-8={OWN}:fixed"], "the name 'mlp-8' is taken (built in)"),
        ([f"teacher={OWN}:fixed"], "the name 'teacher' is taken"),
        ([f"a b={OWN}:fixed"], "'a b' is not 1 to 200 letters"),
        ([f"../up={OWN}:fixed"], "'../up' is not 1 to 200 letters"),
        (
            [f"{OWN}:fixed", f"fixed={OWN}:TinyNet"],
            f"fixed is named twice; give one another name, as in other-name={OWN}:TinyNet",
        ),
        (["small=fixed"], "'fixed' is not of the form module:name"),
        (["no_such_module:Net"], "there is no module 'no_such_module'"),
    ],
)
def test_a_name_that_cannot_be_is_refused(words: list[str], problem: str) -> None:
    with pytest.raises((UnknownName, PluginError)) as refused:
        FAMILIES.named(words, where="--families")

    assert str(refused.value).startswith("--families: ")
    assert problem in str(refused.value)


def test_a_process_may_register_what_is_nowhere_to_be_imported_from() -> None:
    class Local(nn.Module):
        def __init__(self, classes: int) -> None:
            super().__init__()
            self.output = nn.Linear(6, classes)

        def forward(self, x: Tensor) -> Tensor:
            return self.output(x)  # type: ignore[no-any-return]

    FAMILIES.register("Local", Local)

    assert isinstance(build_student("Local", (6,), 4), Local)
    assert FAMILIES.named(["Local"]) == {"Local": ""}
    with pytest.raises(PluginError, match="'cnn' is taken"):
        FAMILIES.register("cnn", Local)


def test_what_a_name_is_said_to_stand_for_last_holds() -> None:
    FAMILIES.named([f"Net={OWN}:fixed"])
    FAMILIES.named([f"Net={OWN}:TinyNet"])
    first = build_student("Net", (6,), 4)
    FAMILIES.register("Net", lambda: nn.Linear(6, 4))
    second = build_student("Net", (6,), 4)
    config = fleet_config(families=("Net",), own_families={"Net": f"{OWN}:TinyNet"})
    third = training_of(config).student("Net")

    assert [type(each).__name__ for each in (first, second, third)] == ["TinyNet", "Linear", "TinyNet"]
    assert FAMILIES.origin("Net") == OWN


def test_an_installed_family_has_its_entry_points_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "small_nets-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: small-nets\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[fedstill.families]\ntiny = {OWN}:TinyNet\n")
    monkeypatch.syspath_prepend(tmp_path)

    assert FAMILIES.named(["tiny"]) == {"tiny": ""}
    assert FAMILIES.origin("tiny") == "small-nets 1.0"
    assert FAMILIES.named([f"tiny={OWN}:TinyNet"]) == {"tiny": f"{OWN}:TinyNet"}  # the same by another word
    assert build_student("tiny", (6,), 4)(torch.zeros(2, 6)).shape == (2, 4)


LIGHT = """
import sys
from fedstill_proto.errors import FedstillError
from fedstill_server.families import FAMILIES
assert list(FAMILIES.named(["mlp-64-32", "gru-8-8", "net=OWN:fixed"])) == ["mlp-64-32", "gru-8-8", "net"]
assert [FAMILIES.task_of(name) for name in ("cnn", "gru-8-8", "ngrams")] == ["arrays", "text", "utterances"]
for name in ("mpl-small", "cnn-8", "nowhere:Net"):
    try:
        FAMILIES.named([name])
    except FedstillError:
        continue
    raise AssertionError(name)
print(*sorted({name.split(".")[0] for name in sys.modules}))
"""


def test_names_are_looked_up_without_torch() -> None:
    words = [sys.executable, "-c", LIGHT.replace("OWN", OWN)]

    done = subprocess.run(words, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert not {"torch", "onnx", "sklearn", "flwr"} & set(done.stdout.split())


# How they are called


@pytest.mark.parametrize("name", ["TinyNet", "of_classes", "of_num_classes", "of_shape", "fixed"])
def test_a_family_is_called_with_what_it_has_a_parameter_for(name: str) -> None:
    student = build_student(f"{OWN}:{name}", (6,), 4)

    assert student(torch.zeros(3, 6)).shape == (3, 4)
    assert FAMILIES.task_of(f"{OWN}:{name}") == "arrays"


def test_the_seed_decides_the_first_weights() -> None:
    first, again, other = (initial_parameters(f"{OWN}:TinyNet", (6,), 4, seed) for seed in (1, 1, 2))

    assert list(first) == ["hidden.weight", "hidden.bias", "output.weight", "output.bias"]
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not np.array_equal(first["hidden.weight"], other["hidden.weight"])


def test_a_family_says_which_task_it_is_of() -> None:
    assert FAMILIES.task_of(f"{OWN}:NextWord") == "text"
    assert build_student(f"{OWN}:NextWord", (5,), 7)(torch.zeros(2, 5, dtype=torch.int64)).shape == (2, 5, 7)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("needs_a_width", "needs_a_width: it needs width, and is called with input_shape and classes"),
        ("NUMBER", "NUMBER: a int; a family is a function or a class"),
        ("of_no_task", "of_no_task: its task is 7; give a task's name, such as 'arrays'"),
        ("no_network", "no_network: it makes a list, not a torch module"),
        ("fails", "fails: it raised RuntimeError: no room for 4"),
        (
            "wrong_classes",
            "wrong_classes: to examples [2, 6] it answers (2, 5); its logits should be (2, 4)",
        ),
        ("averages_batches", "averages_batches: 1 averages its statistics over all batches so far"),
        ("Remembers", "Remembers: seen change while it answers"),
        ("TinyNett", "'TinyNett' is unknown; did you mean TinyNet"),
    ],
)
def test_what_is_no_family_is_refused(name: str, problem: str) -> None:
    with pytest.raises(FedstillError) as refused:
        build_student(f"{OWN}:{name}", (6,), 4)

    assert problem in str(refused.value)


def test_examples_that_a_family_cannot_take_are_named() -> None:
    with pytest.raises(
        PluginError, match=r"fixed, of examples \[2, 7\]: it raised RuntimeError: mat1 and mat2"
    ):
        build_student(f"{OWN}:fixed", (7,), 4)


# In a fleet's configuration


def test_a_configuration_names_families_in_every_process() -> None:
    places = {"Tiny": f"{OWN}:TinyNet"}
    config = fleet_config(families=("mlp-small", "Tiny"), own_families=places)
    FAMILIES._places.clear()  # as in another process

    again = FleetConfig.from_json(config.to_json())

    assert again == config
    assert build_student("Tiny", (6,), 4)(torch.zeros(2, 6)).shape == (2, 4)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"families": ("Tiny",)}, "families: 'Tiny' is unknown"),
        (
            {"own_families": {"Tiny": f"{OWN}:TinyNet"}},
            "own_families: 'Tiny' is not one of the fleet's families",
        ),
        (
            {"families": ("Tiny",), "own_families": {"Tiny": "no_such_module:Net"}},
            "own_families: no_such_module:Net: there is no module 'no_such_module'",
        ),
        (
            {"families": ("Words",), "own_families": {"Words": f"{OWN}:NextWord"}},
            "families: 'Words' is not one of mlp-small",
        ),
    ],
)
def test_a_configuration_of_families_that_are_not_there(changes: dict[str, object], problem: str) -> None:
    with pytest.raises((ConfigError, UnknownName, PluginError)) as refused:
        fleet_config(**changes)

    assert problem in str(refused.value)


# What is kept of their graphs


def registered(width: int) -> None:
    """Under the same name another network, as in a notebook whose cell is changed and runs again."""

    def Net(classes: int) -> nn.Module:
        between = nn.Tanh() if width < 4 else nn.ReLU()
        return nn.Sequential(nn.Linear(6, width), between, nn.Linear(width, classes))

    FAMILIES.register("Net", Net)


def built(cache: Path) -> TrainingArtifact:
    return build_artifact(
        ArtifactOptions(
            family="Net",
            input_shape=(6,),
            classes=4,
            optimizer=Optimizer.SGD,
            soft_labels="none",
            stack_size=1,
            step_rows=5,
        ),
        cache=cache,
        verify=False,
    )


def test_a_network_that_changed_under_its_name_is_another_one() -> None:
    assert structure_of("mlp-small", (6,), 4) is None
    registered(3)
    first, again = structure_of("Net", (6,), 4), structure_of("Net", (6,), 4)

    registered(5)

    assert first == again
    assert structure_of("Net", (6,), 4) != first
    assert structure_of("Net", (6,), 3) != structure_of("Net", (6,), 4)


def test_graphs_of_a_changed_network_are_built_anew(tmp_path: Path) -> None:
    registered(3)
    first = built(tmp_path)
    registered(5)

    second = built(tmp_path)

    assert first.manifest.parameters[0].shape == (3, 6)
    assert second.manifest.parameters[0].shape == (5, 6)
    assert built(tmp_path).training_graph == second.training_graph


class ReadsTokens(nn.Module):
    """A mean of looked-up rows; it takes numbers of tokens as amounts, as they come in arrays."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.table = nn.Embedding(7, 4)
        self.output = nn.Linear(4, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.table(x.long()).mean(1))  # type: ignore[no-any-return]


def test_a_network_that_looks_up_what_it_reads_is_found_and_gets_tokens() -> None:
    FAMILIES.register("reads-tokens", ReadsTokens)
    assert tokens_known("reads-tokens", (3,), 2) == 7
    assert tokens_known("mlp-small", (3,), 2) == 0
    options = ArtifactOptions(
        family="reads-tokens",
        input_shape=(3,),
        classes=2,
        optimizer=Optimizer.SGD,
        soft_labels="none",
        stack_size=1,
        step_rows=4,
    )
    build_artifact(options)
