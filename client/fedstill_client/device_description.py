"""Who a device is: its device.json, in a plain device folder and in an agent's home alike.

{"name": "kitchen", "family": "mlp-small"}, and perhaps "owner_share" (see model/label_prior.py) and the
"layout" of its keyboard (see keyboard/correction/layouts.py)
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from fedstill_proto.checks import check_name, device_name
from fedstill_proto.errors import FedstillError

from fedstill_client.model.owner_share import OWNER_SHARE, check_owner_share

DESCRIPTION_FILE = "device.json"


class DeviceError(FedstillError):
    """A device folder cannot be used."""


@dataclass(frozen=True)
class DeviceDescription:
    """Who a device is: its device.json."""

    name: str
    family: str
    owner_share: float = OWNER_SHARE
    layout: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", device_name("name", self.name))
        check_name("family", self.family)
        check_owner_share(self.owner_share)
        if self.layout:
            from fedstill_client.keyboard.correction.layouts import layout_named  # few devices read them

            layout_named(self.layout)

    @classmethod
    def read(cls, folder: Path) -> DeviceDescription:
        """Read the description in a device's folder; raises DeviceError."""
        file = folder / DESCRIPTION_FILE
        try:
            fields = json.loads(file.read_bytes())
            if not isinstance(fields, dict):
                raise DeviceError('it holds no object like {"name": "kitchen", "family": "mlp-small"}.')
            # A strength of the label prior is what older homes have in place of the share; 0 is none in both.
            if "label_prior" in fields:
                strength = fields.pop("label_prior")
                fields.setdefault("owner_share", 0.0 if strength == 0 else OWNER_SHARE)
            unknown = fields.keys() - {"name", "family", "owner_share", "layout"}
            if unknown or not {"name", "family"} <= fields.keys():
                raise DeviceError(
                    f"its fields are {sorted(fields)}; give name and family, perhaps owner_share and layout."
                )
            return cls(**fields)
        except OSError as error:
            raise DeviceError(
                f"{file}: cannot be read: {error.strerror}. A device folder holds device.json, artifact/ and "
                "private.npz."
            ) from None
        except (ValueError, FedstillError) as error:
            raise DeviceError(f"{file}: cannot be used: {error}") from None
