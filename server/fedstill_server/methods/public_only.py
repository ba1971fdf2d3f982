"""No federation: devices use the student that the public labels alone made, and train nothing."""

from __future__ import annotations

from dataclasses import replace

from fedstill_proto.messages import TrainingPlan

from fedstill_server.config.codec import ConfigError
from fedstill_server.config.fleet import FleetConfig
from fedstill_server.methods.local import Local


class PublicOnly(Local):
    line = "the student that public labels alone make; the baseline without any device's learning"
    learns_public = True

    @property
    def training(self) -> TrainingPlan:
        return replace(self.config.training, epochs=0)

    @property
    def knows_owner(self) -> bool:
        return False

    def check(self, config: FleetConfig) -> None:
        super().check(config)
        if not config.use_public_labels:
            raise ConfigError(
                "method: 'public-only' knows nothing but public labels, and none are used; give a public set "
                "with labels, or leave this method out"
            )
        if config.start != "distilled":
            raise ConfigError(
                f"start: {config.start!r} leaves a student of 'public-only' without anything learned; "
                "use distilled"
            )
