"""Names of plug-ins: built in, installed, registered, or module:name; all without a heavy import."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fedstill_proto.errors import UnknownName
from fedstill_server.plugins import PluginError, Registry, called, search_current_folder

GROUP = "fedstill.test_things"
MODULE = """
import imported_with_it

def double(x):
    return 2 * x

class Holder:
    double = staticmethod(double)

NUMBER = 7
"""


def a_function(found: object) -> object:
    """The check of these registries."""
    if not callable(found):
        raise PluginError(f"a {type(found).__name__} and no function")
    return found


def registry(**built_in: str) -> Registry[object]:
    return Registry("thing", group=GROUP, built_in=built_in or {"round": "builtins:round"}, check=a_function)


def write_distribution(folder: Path, name: str, *points: str) -> None:
    """What an installer leaves behind: a dist-info folder with entry points."""
    info = folder / f"{name}-1.2.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text("\n".join([f"[{GROUP}]", *points]) + "\n")


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of modules that can be imported, and are forgotten afterwards."""
    before = set(sys.modules)
    (tmp_path / "some_things.py").write_text(MODULE)
    (tmp_path / "imported_with_it.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


# Where a name is found


def test_a_built_in_thing_is_imported_when_it_is_loaded() -> None:
    things = registry(round="builtins:round", gone="no_such_module:thing")

    assert things.names() == tuple(things) == ("round", "gone")
    assert "gone" in things
    things.require(["gone", "round"])  # imports neither
    assert things.load("round") is round
    assert things.origin("round") == "built in"


def test_an_installed_distribution_adds_its_own(modules: Path) -> None:
    things = registry()
    assert "double" not in things

    write_distribution(modules / "site", "my-things", "double = some_things:double")
    sys.path.insert(0, str(modules / "site"))  # taken away with the fixture's own folder

    assert things.names() == ("round", "double")
    assert things.own() == ("double",)
    assert things.origin("double") == "my-things 1.2"
    things.require(["double"])
    assert "some_things" not in sys.modules
    assert things.load("double")(21) == 42  # type: ignore[operator]


def test_an_installed_name_never_replaces_a_built_in_one(modules: Path) -> None:
    write_distribution(modules, "my-things", "round = some_things:double")

    assert registry().load("round") is round


def test_a_name_that_two_distributions_have_is_no_name(modules: Path) -> None:
    write_distribution(modules, "my-things", "double = some_things:double")
    write_distribution(modules, "your-things", "double = some_things:Holder.double")

    with pytest.raises(
        PluginError, match=r"'double' is a thing of .*-things 1\.2 and of .*-things 1\.2; say"
    ):
        registry().load("double")


def test_a_module_and_a_name_are_imported_when_they_are_loaded(modules: Path) -> None:
    things = registry()

    things.require(["some_things:double", "some_things:Holder.double"])

    assert "some_things" not in sys.modules
    assert things.load("some_things:Holder.double") is things.load("some_things:double")
    assert things.origin("some_things:double") == "some_things"


def test_what_a_process_registers_has_a_name() -> None:
    things = registry()

    things.register("mine", abs)
    things.register("mine", abs)  # the same again is no other

    assert things.load("mine") is abs
    assert things.origin("mine") == "registered in this process"
    assert things.own() == ("mine",)


def test_what_is_registered_last_holds() -> None:
    things = registry()
    things.register("mine", abs)

    things.register("mine", sum)

    assert things.load("mine") is sum


# What is refused


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        (
            "rond",
            "--thing: 'rond' is unknown; did you mean round? there are round, or module:name of your own",
        ),
        ("some_thing", "--thing: 'some_thing' is unknown; there are round, or module:name of your own"),
        ("no_such_module:x", "there is no module 'no_such_module'; install it, or start where it lies"),
        ("some_things.inner:x", "there is no module 'some_things.inner'"),
        ("some_things:", "'some_things:' is not of the form module:name"),
        (":double", "':double' is not of the form module:name"),
        ("../some_things:double", "is not of the form module:name"),
    ],
)
def test_a_wrong_name_is_refused_before_anything_is_imported(modules: Path, name: str, problem: str) -> None:
    with pytest.raises((UnknownName, PluginError)) as refused:
        registry().require([name], where="--thing")

    assert problem in str(refused.value)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("some_things:doubel", "--thing: some_things: 'doubel' is unknown; did you mean double?"),
        ("some_things:NUMBER", "--thing: some_things:NUMBER: a int and no function"),
        ("missing_part:x", "missing_part cannot be imported: No module named 'nothing_like_this'"),
        ("broken:x", "--thing: broken:x: it raised ZeroDivisionError: division by zero"),
        ("broken_syntax:x", "it raised SyntaxError"),
    ],
)
def test_what_is_not_of_the_kind_is_refused_when_it_is_loaded(modules: Path, name: str, problem: str) -> None:
    (modules / "missing_part.py").write_text("import nothing_like_this\n")
    (modules / "broken.py").write_text("one = 1\n1 / 0\n")
    (modules / "broken_syntax.py").write_text("def\n")

    with pytest.raises((UnknownName, PluginError)) as refused:
        registry().load(name, where="--thing")

    assert problem in str(refused.value)


def test_an_error_of_own_code_says_in_which_line(modules: Path) -> None:
    (modules / "broken.py").write_text("one = 1\n1 / 0\n")

    with pytest.raises(PluginError, match=r"broken\.py, line 2\)"):
        registry().load("broken:x")


@pytest.mark.parametrize(
    ("name", "found", "problem"),
    [
        ("round", abs, "the name 'round' is taken"),
        ("new", 7, "thing: new: a int and no function"),
        ("a:b", abs, "a name holds no colon"),
    ],
)
def test_what_cannot_be_registered(name: str, found: object, problem: str) -> None:
    things = registry()
    things.register("mine", abs)

    with pytest.raises(PluginError, match=problem):
        things.register(name, found)

    assert things.load("mine") is abs


def test_an_error_of_fedstills_own_is_left_as_it_is() -> None:
    def refuse() -> None:
        raise UnknownName("it says all there is to say")

    with pytest.raises(UnknownName, match=r"^it says all there is to say$"):
        called("mine", refuse)


# Without a heavy import

LIGHT = """
import sys
from fedstill_proto.errors import FedstillError
from fedstill_server.plugins import Registry
things = Registry("thing", group="g", built_in={"heavy": "torch:Tensor"}, check=lambda found: found)
things.require(["heavy", "torch:nn.Module"])
for name in ("haevy", "nowhere:x"):
    try:
        things.require([name])
    except FedstillError:
        continue
    raise AssertionError(name)
print(*sorted({name.split(".")[0] for name in sys.modules}))
"""


def test_names_are_looked_up_without_torch() -> None:
    done = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert not {"torch", "numpy", "onnx", "flwr"} & set(done.stdout.split())


def test_modules_are_found_in_the_current_folder(modules: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (modules / "elsewhere").mkdir()
    (modules / "elsewhere" / "things_here.py").write_text("def same(x):\n    return x\n")
    monkeypatch.setattr(sys, "path", [each for each in sys.path if each])
    monkeypatch.chdir(modules / "elsewhere")
    with pytest.raises(PluginError, match="no module 'things_here'"):
        registry().require(["things_here:same"])

    search_current_folder()
    search_current_folder()

    registry().require(["things_here:same"])
    assert sys.path[-1] == str(modules / "elsewhere")
    assert sys.path.count(sys.path[-1]) == 1
