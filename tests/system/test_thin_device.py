"""The thin install: requirements/device.txt holds all that a device imports, in versions that fit."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).resolve().parents[2]
LISTED = [
    Requirement(line)
    for line in (REPOSITORY / "requirements" / "device.txt").read_text().splitlines()
    if line and not line.startswith("#")
]

# Imports all of a device's modules, where no other distribution than those listed can be imported.
PROGRAM = """
import importlib, importlib.abc, importlib.metadata, json, pkgutil, re, sys

listed, refused = set(json.loads(sys.argv[1])), set()

def name_of(distribution):
    return re.sub(r"[-_.]+", "-", distribution).lower()

brings = importlib.metadata.packages_distributions()

class OnlyListed(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        owners = {name_of(owner) for owner in brings.get(name.split(".")[0], ())}
        if owners and not owners & listed:
            raise ModuleNotFoundError(f"{name} of {sorted(owners)} is not on a device", name=name)
        return None

sys.meta_path.insert(0, OnlyListed())
import fedstill_client
walked = pkgutil.walk_packages(fedstill_client.__path__, "fedstill_client.")
rooms_of_extras = ("fedstill_client.home_assistant.",)  # [wyoming], which a thin device is without
for name in [module.name for module in walked if not module.name.startswith(rooms_of_extras)]:
    importlib.import_module(name)
tops = {name.split(".")[0] for name in sys.modules}
print(json.dumps(sorted({name_of(owner) for top in tops for owner in brings.get(top, ())} & listed)))
"""


def test_a_device_imports_what_is_listed_and_nothing_else() -> None:
    listed = [canonicalize_name(one.name) for one in LISTED]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps([*listed, "fedstill"])],
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert done.returncode == 0, done.stderr[-2000:]
    assert {"flwr", "numpy", "onnxruntime", "protobuf", "tuf"} <= set(json.loads(done.stdout))


def test_the_list_has_every_dependency_in_a_version_that_is_asked_for() -> None:
    document = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    dependencies = [Requirement(text) for text in document["project"]["dependencies"]]
    asked = {canonicalize_name(one.name): one for one in dependencies}
    pinned = {}
    for one in LISTED:
        (specifier,) = one.specifier
        assert specifier.operator == "=="
        pinned[canonicalize_name(one.name)] = specifier.version
    assert asked.keys() <= pinned.keys()
    for name, requirement in asked.items():
        assert requirement.specifier.contains(pinned[name]), name
