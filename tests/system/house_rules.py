"""The rules of the house, as functions from source text to what breaks them."""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterator

OURS = ("fedstill", "fedstill_proto", "fedstill_client", "fedstill_server", "fedstill_sim")

# What each package may import of ours; nothing imports the public face, and nothing below it the simulator.
ALLOWED = {
    "fedstill_proto": {"fedstill_proto"},
    "fedstill_client": {"fedstill_client", "fedstill_proto"},
    "fedstill_server": {"fedstill_server", "fedstill_proto"},
    "fedstill_sim": set(OURS) - {"fedstill"},
    "fedstill": set(OURS),
}
TOO_HEAVY_FOR_A_DEVICE = {"torch", "onnx", "onnxscript", "sklearn", "sqlalchemy", "ray", "matplotlib"}
# What Flower promises to keep; its other modules change from release to release.
PUBLIC_FLOWER = {"flwr.app", "flwr.clientapp", "flwr.serverapp", "flwr.simulation"}
PICKLES = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "joblib"}


def imported(source: str) -> set[str]:
    """Top-level packages that `source` imports anywhere, in functions and by name too."""
    packages = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            packages |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            packages.add(node.module)
        elif isinstance(node, ast.Call) and _name(node.func) in ("import_module", "__import__", "find_spec"):
            packages |= {arg.value for arg in node.args if isinstance(arg, ast.Constant) and arg.value}
    return {package.split(".")[0] for package in packages if isinstance(package, str)}


def private_flower(source: str) -> set[str]:
    """Modules of Flower that `source` imports, and that Flower keeps for itself."""
    modules = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            modules.add(node.module)
    return {name for name in modules if name.split(".")[0] == "flwr"} - PUBLIC_FLOWER


def wrong_imports(package: str, source: str) -> set[str]:
    """Imports that the layout forbids to a file of `package`."""
    packages = imported(source)
    wrong = (packages & set(OURS)) - ALLOWED[package]
    if package in ("fedstill_proto", "fedstill_client"):
        wrong |= packages & TOO_HEAVY_FOR_A_DEVICE
    return wrong


def unsafe_loads(source: str) -> Iterator[str]:
    """Ways to run code that came as data."""
    yield from sorted(imported(source) & PICKLES)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle" and not _is_false(node.value):
            yield "allow_pickle"
        if isinstance(node, ast.Attribute) and ast.unparse(node) == "torch.load":
            yield "torch.load"


def stray_errors(source: str) -> Iterator[str]:
    """Exception classes that do not derive from FedstillError."""
    errors = {name for name, value in vars(builtins).items() if _is_exception(value)}
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.ClassDef) or node.name == "FedstillError":
            continue
        if node.bases and {_name(base) for base in node.bases} <= errors:
            yield node.name


# Put together from pieces, so that this file does not break its own rule.
_FOLDERS = "|".join(["work", "root", "home/[a-z]", "Users/[A-Za-z]", "opt/[a-z]"])
MACHINE_PATH = re.compile(rf"(?<![\w.\-/:])/(?:{_FOLDERS})[\w.\-]*/[\w.\-]+")
REGISTRY_HOST = re.compile(
    r"\b(?:pypi|pythonhosted|pytorch|npmjs|crates|anaconda|jfrog|conda)\.(?:org|io|com)\b"
)
WORKPLACE = re.compile(r"\.\./shared\b")


def machine_traces(text: str) -> list[str]:
    """Paths of one machine, hosts of package registries, and folders beside the repository."""
    patterns = (MACHINE_PATH, REGISTRY_HOST, WORKPLACE)
    return [found.group() for pattern in patterns for found in pattern.finditer(text)]


def _name(node: ast.expr) -> str:
    """The last part of a dotted name."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _is_false(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is False


def _is_exception(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, BaseException)
