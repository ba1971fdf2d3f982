"""Nobody outside the rooms of tasks asks which task it is: a fourth one needs no change anywhere else."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PACKAGES = (
    *("proto/fedstill_proto", "server/fedstill_server", "client/fedstill_client"),
    *("sim/fedstill_sim", "fedstill"),
)
# What would say which task it is: its name, a predicate of that, or the class of a built-in one.
NAMES = {"arrays", "text", "utterances", "keyboard", "assistant"}
CONSTANTS = {"ARRAYS", "TEXT", "UTTERANCES", "AMOUNTS", "WORDS", "NGRAMS"}
PREDICATES = {
    *("is_text", "is_assistant", "is_keyboard", "reads_text", "reads_arrays", "hears_utterances"),
    "classifies",
}
CLASSES = {
    *("ArrayTask", "TextTask", "UtteranceTask"),
    *("ArraySimulation", "TextSimulation", "UtteranceSimulation"),
}


def lines_that_ask(source: str) -> list[int]:
    """The lines that ask which task it is."""
    return sorted({node.lineno for node in ast.walk(ast.parse(source)) if _asks(node)})


def _asks(node: ast.AST) -> bool:
    if isinstance(node, ast.Name | ast.Attribute | ast.FunctionDef):
        return _name(node) in PREDICATES
    if isinstance(node, ast.Compare):
        sides = [node.left, *node.comparators]
        equal = any(isinstance(one, ast.Eq | ast.NotEq | ast.Is | ast.IsNot) for one in node.ops)
        among = any(isinstance(one, ast.In | ast.NotIn) for one in node.ops)
        kinds = [side for side in (sides if equal else sides[1:] if among else []) if _is_kind(side)]
        absent = any(isinstance(side, ast.Constant) and side.value is None for side in sides)
        of_config = absent and any(isinstance(side, ast.Attribute) and side.attr == "text" for side in sides)
        return bool(kinds) or of_config
    if isinstance(node, ast.Call) and _name(node.func) in ("isinstance", "issubclass"):
        return any(_name(one) in CLASSES for one in ast.walk(node.args[1]))
    return False


def _is_kind(side: ast.expr) -> bool:
    """A task's name, or a collection of them."""
    if isinstance(side, ast.Constant):
        return side.value in NAMES
    if isinstance(side, ast.Tuple | ast.List | ast.Set):
        return any(map(_is_kind, side.elts))
    return _name(side) in CONSTANTS


def _name(node: ast.AST) -> str:
    if isinstance(node, ast.FunctionDef):
        return node.name
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def sources() -> Iterator[Path]:
    for package in PACKAGES:
        for path in sorted((REPOSITORY / package).rglob("*.py")):
            inside = path.relative_to(REPOSITORY / package).parts
            if inside[0] not in ("tasks", "v1"):
                yield path


def test_nobody_outside_the_tasks_asks_which_task_it_is() -> None:
    found = [
        f"{path.relative_to(REPOSITORY)}:{line}"
        for path in sources()
        for line in lines_that_ask(path.read_text(encoding="utf-8"))
    ]
    assert found == []


@pytest.mark.parametrize(
    "line",
    [
        "if config.text is not None: pass",
        "x = data.is_text",
        "def is_text(name): ...",
        'if task.name == "text": pass',
        'if name in ("keyboard", "assistant"): pass',
        "if FAMILIES.task_of(family) == TEXT: pass",
        "if form is not WORDS: pass",
        "if isinstance(task, tasks.TextTask): pass",
        "if issubclass(kind, (ArrayTask, Other)): pass",
    ],
)
def test_a_test_of_the_kind_would_be_found(line: str) -> None:
    assert lines_that_ask(line) == [1]


@pytest.mark.parametrize(
    "line",
    [
        "if text is None: pass",  # what somebody typed
        'name = "text"',
        "if form.tables: pass",
        'if "text" in document: pass',
        'if {"text", "label"} <= columns: pass',
        "if form.labels is Labels.EACH_PLACE: pass",
        "if isinstance(error, KeyError): pass",
    ],
)
def test_what_is_none_is_let_be(line: str) -> None:
    assert lines_that_ask(line) == []
