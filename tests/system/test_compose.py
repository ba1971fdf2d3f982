"""deploy/: what the containers start is there, and what they mount."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from fedstill_server.cli import cli
from typer.main import get_command

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    assert isinstance(loaded, dict)
    return loaded


def test_every_command_of_the_containers_is_one_of_ours_with_its_options(compose: dict[str, Any]) -> None:
    commands = get_command(cli).commands  # type: ignore[attr-defined]
    ours = [one["command"] for one in compose["services"].values() if "command" in one]
    assert len(ours) >= 2
    for program, name, *words in ours:
        assert program == "fedstill-server"
        options = {text for parameter in commands[name].params for text in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= options


def test_every_volume_is_declared_or_a_folder_here(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert source in compose["volumes"] or (DEPLOY / source).is_dir(), f"{name}: {volume}"


def test_the_image_is_made_of_extras_that_the_project_has() -> None:
    import tomllib

    project = tomllib.loads((DEPLOY.parent / "pyproject.toml").read_text())["project"]
    text = (DEPLOY / "Dockerfile").read_text()
    extras = text.split("fedstill[", 1)[1].split("]", 1)[0].split(",")
    assert set(extras) <= project["optional-dependencies"].keys()
