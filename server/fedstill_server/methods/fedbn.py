"""FedBN (Li et al. 2021, arXiv 2102.07623): FedAvg of all but the normalization, which stays on the device.

What differs between devices in how they take their examples, a camera's light or a wrist's grip, shows in
the mean and the spread of features: so each device keeps the scale and the shift of its own normalization
layers, and their running means and variances where they have them (the paper's are of batch normalization;
layers that normalize each example, as cnn-norm's, have none). A fleet with a family that has no such layer is
refused: there it would be fedavg.
"""

from __future__ import annotations

from typing import ClassVar

from fedstill_proto.arrays import Parameters

from fedstill_server.config.codec import ConfigError
from fedstill_server.config.fleet import FleetConfig
from fedstill_server.data.forms import Labels
from fedstill_server.methods.fedavg import FedAvg
from fedstill_server.tasks import training_of


class FedBn(FedAvg):
    line = "fedavg of all but the normalization, which stays (FedBN: Li et al. 2021, arXiv 2102.07623)"
    label_places = (Labels.ONE,)
    keeps_parts: ClassVar[bool] = True

    def check(self, config: FleetConfig) -> None:
        super().check(config)
        for family in config.families:
            if not _normalization(config, family):
                raise ConfigError(
                    f"families: students of {family!r} have no normalization layer that could stay on a "
                    "device, and fedbn would be fedavg; take cnn-norm, or your own with nn.BatchNorm2d"
                )

    def local_parameters(self, family: str, student: Parameters) -> tuple[str, ...]:
        return _normalization(self.config, family)


def _normalization(config: FleetConfig, family: str) -> tuple[str, ...]:
    """The names of the parameters of a family's normalization layers."""
    from fedstill_server.families.features import normalization_parameters

    return normalization_parameters(training_of(config).student(family))
