"""The component file, by which IBus knows the engine and starts it."""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

from fedstill_proto import __version__
from fedstill_proto.errors import FedstillError

ENGINE = "fedstill"
BUS_NAME = "org.freedesktop.IBus.Fedstill"
SYSTEM_FOLDER = Path("/usr/share/ibus/component")
COMPONENT_FILE = "fedstill.xml"
ENVIRONMENT_FILE = "60-fedstill-ibus.conf"

_XML = """<?xml version="1.0" encoding="utf-8"?>
<!-- written by: fedstill-ibus install -->
<component>
  <name>{bus_name}</name>
  <description>fedstill</description>
  <exec>{command}</exec>
  <version>{version}</version>
  <author>fedstill</author>
  <license>Apache-2.0</license>
  <homepage></homepage>
  <textdomain>fedstill</textdomain>
  <engines>
    <engine>
      <name>{engine}</name>
      <language>other</language>
      <license>Apache-2.0</license>
      <author>fedstill</author>
      <icon></icon>
      <layout>default</layout>
      <longname>fedstill</longname>
      <description>Suggestions of the device's own agent</description>
      <symbol>fs</symbol>
      <rank>0</rank>
    </engine>
  </engines>
</component>
"""


@dataclass(frozen=True)
class ComponentPlace:
    """Where the component file stands, and what makes IBus look there.

    Attributes:
        component: The component file.
        environment: The file that names its folder to the programs of a desktop session; None where IBus
            looks there anyway.
    """

    component: Path
    environment: Path | None

    @classmethod
    def chosen(cls, *, system: bool) -> ComponentPlace:
        """The place for all users, or that of this user."""
        if system:
            return cls(SYSTEM_FOLDER / COMPONENT_FILE, None)
        data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share")
        config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
        return cls(data / "ibus" / "component" / COMPONENT_FILE, config / "environment.d" / ENVIRONMENT_FILE)

    def write(self, arguments: list[str]) -> None:
        """Write the files; `arguments` are those of `fedstill-ibus run`.

        Raises:
            FedstillError: They cannot be written.
        """
        _write(self.component, component_xml(arguments))
        if self.environment is not None:
            path = f"{self.component.parent}:${{IBUS_COMPONENT_PATH:-{SYSTEM_FOLDER}}}"
            _write(self.environment, f"IBUS_COMPONENT_PATH={path}\n")

    def remove(self) -> list[Path]:
        """Remove the files that are there, and return them.

        Raises:
            FedstillError: One cannot be removed.
        """
        removed = []
        for file in (self.component, self.environment):
            try:
                if file is not None and file.is_file():
                    file.unlink()
                    removed.append(file)
            except OSError as error:
                raise FedstillError(f"{file}: cannot be removed: {error.strerror}.") from None
        return removed


def component_xml(arguments: list[str]) -> str:
    """The component file's text."""
    command = shlex.join([sys.executable, "-m", "fedstill_client.ibus.cli", "run", "--ibus", *arguments])
    return _XML.format(bus_name=BUS_NAME, engine=ENGINE, version=escape(__version__), command=escape(command))


def _write(file: Path, text: str) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise FedstillError(f"{file}: cannot be written: {error.strerror}.") from None
