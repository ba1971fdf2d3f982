"""The fleet's release plan as the device saw it last: it holds while the fleet cannot be asked."""

from __future__ import annotations

import logging

from fedstill_proto.errors import WireError
from fedstill_proto.package.release_plan import PLAN_LIMIT_BYTES, ReleasePlan
from fedstill_proto.system.files import replace_file

from fedstill_client.home import AgentHome
from fedstill_client.packages.errors import PackageError

log = logging.getLogger("fedstill.packages")


def read_plan(home: AgentHome) -> ReleasePlan | None:
    """The plan that was kept; None where there was none, or it is damaged: the next look brings it again."""
    try:
        with home.release_plan.open("rb") as file:
            return ReleasePlan.from_bytes(file.read(PLAN_LIMIT_BYTES + 1))
    except FileNotFoundError:
        return None
    except (OSError, WireError) as error:
        log.warning("%s: cannot be used, and is fetched again: %s", home.release_plan, error)
        return None


def keep_plan(home: AgentHome, plan: ReleasePlan) -> None:
    """Follow a plan from now on; raises PackageError for one that is older than what the device knows."""
    before = read_plan(home)
    if before is not None and before.version > plan.version:
        raise PackageError(
            "rollback", f"release plan {plan.version} is older than {before.version}, which is known"
        )
    if before != plan:
        try:
            replace_file(home.release_plan, plan.to_bytes())
        except OSError as error:
            raise PackageError("disk", f"{home.release_plan}: cannot be written: {error.strerror}") from None


def rounds_off(home: AgentHome) -> bool:
    """Whether the fleet's operator has switched rounds off, as far as the device knows."""
    plan = read_plan(home)
    return plan is not None and plan.rounds_off


def own_public_key(home: AgentHome) -> str:
    """The device's public key, as OpenSSH writes it; empty where there is none yet."""
    try:
        return home.device_key.with_suffix(".pub").read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""
