"""What was asked when a fleet was prepared: config.json keeps it beside what came of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fedstill_server.config.codec import ConfigError, from_json, to_json
from fedstill_server.config.reading import ReadOptions
from fedstill_server.config.run_options import RunOptions
from fedstill_server.teachers.registry import ONNX_SUFFIX


@dataclass(frozen=True, kw_only=True)
class AskedOptions:
    """What was asked of a generation of the fleet, and how its files were read."""

    options: RunOptions = field(default_factory=RunOptions)
    reading: ReadOptions = field(default_factory=ReadOptions)

    def kept(self) -> dict[str, Any]:
        """It as JSON; a teacher's file is found from any folder."""
        options = self.options
        if options.teacher.endswith(ONNX_SUFFIX):
            options = dataclasses.replace(options, teacher=str(Path(options.teacher).absolute()))
        return {"options": to_json(options), "reading": to_json(self.reading)}

    @classmethod
    def of(cls, document: Mapping[str, Any], *, where: str) -> AskedOptions:
        """What `kept` gave; raises ConfigError where an earlier release prepared the fleet."""
        if "asked" not in document:
            raise ConfigError(
                f"{where}: it does not say what was asked when this fleet was prepared: an earlier release "
                "did it, and what changes it is another fleet"
            )
        return from_json(cls, document["asked"], where=f"{where}: asked")
