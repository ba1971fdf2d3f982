"""What was asked when a fleet was prepared: config.json keeps it beside what came of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fedstill_proto.soft_labels.codec_spec import format_codec

from fedstill_server.config.codec import from_json, to_json
from fedstill_server.config.fleet import FleetConfig
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
        """What `kept` gave; where an earlier release prepared the fleet, what its configuration says.

        Args:
            document: config.json.
            where: The file, for errors.
        """
        if "asked" not in document:
            return cls(options=options_of_config(FleetConfig.from_json(document["fleet"], where=where)))
        return from_json(cls, document["asked"], where=f"{where}: asked")


def options_of_config(config: FleetConfig) -> RunOptions:
    """Options that ask for all that a configuration says, where nobody kept what was asked."""
    training, privacy, sums = config.training, config.privacy, config.secure_sums
    names = {name: f"{name}={config.own_families[name]}" for name in config.own_families}
    asynchronous = config.asynchronous if config.mode == "async" else None
    return RunOptions(
        method=config.method.name,
        method_options=config.method.options,
        task=config.task.name,
        families=tuple(names.get(family, family) for family in config.families),
        target=config.target.kind.value,
        teacher=config.teacher.network,
        teacher_trained=bool(config.teacher.network) and config.teacher.trained,
        teacher_frozen=bool(config.teacher.network) and config.teacher.frozen,
        device=config.teacher.device,
        rounds=None if config.continuous else config.own_rounds,
        seed=config.seed,
        epochs=training.epochs,
        batch_size=training.batch_size,
        learning_rate=training.learning_rate,
        optimizer=training.optimizer.value,
        temperature=training.temperature,
        soft_weight=training.soft_weight,
        public_batch=config.public_batch,
        public_targets=config.public_targets,
        uplink=format_codec(config.uplink),
        downlink=format_codec(config.downlink),
        use_public_labels=config.use_public_labels,
        start=config.start,
        round_epochs=config.teacher.round_epochs,
        privacy=None if privacy is None else privacy.mode,
        noise_multiplier=None if privacy is None else privacy.noise_multiplier,
        delta=None if privacy is None else privacy.delta,
        clip=None if privacy is None else privacy.clip,
        secure_sums=None if sums is None else True,
        sum_group=None if sums is None else sums.group_size,
        sum_dropouts=None if sums is None else sums.dropouts,
        sum_fold=None if sums is None else sums.fold,
        goal_count=config.cohort.goal_count,
        over_selection=config.cohort.over_selection,
        deadline=config.cohort.deadline_s,
        participation=config.cohort.fraction,
        select=config.cohort.select,
        mode=config.mode,
        buffer=None if asynchronous is None else asynchronous.buffer,
        max_age=None if asynchronous is None else asynchronous.max_age,
        age_exponent=None if asynchronous is None else asynchronous.exponent,
        evaluate_every=config.evaluate_every,
    )
