"""What is damaged of all that a run, or a fleet, keeps on the server's disk.

Not Flower's own: superlink.db and flower/ hold messages on their way, which pass the gate as any do. Nor what
is written anew each time that a fleet comes up (bundle/, nginx/), nor logs.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fedstill_proto.errors import FedstillError
from fedstill_proto.system.sealed import read_sealed_json

from fedstill_server.export.cache import damaged_artifacts
from fedstill_server.fleet.devices import DeviceRegister
from fedstill_server.fleet.folder import FleetFolder
from fedstill_server.fleet.nodes import read_nodes
from fedstill_server.operations.audit import AuditLog
from fedstill_server.publish.repository import Repository
from fedstill_server.rounds.run_store import RunStore
from fedstill_server.run_folder import read_fleet_config


def damage_in(folder: Path) -> list[str]:
    """Say what is damaged in the folder of a run or a fleet: each with its file, and what to do.

    Args:
        folder: What `fedstill-server inspect` takes.
    """
    found: list[str] = []

    def look(part: Callable[[], object]) -> None:
        try:
            problems = part()
        except FedstillError as error:
            found.append(str(error))
            return
        if isinstance(problems, list) and all(isinstance(one, str) for one in problems):
            found.extend(problems)

    def account() -> None:
        config = read_fleet_config(folder)
        if config.privacy is not None and config.privacy.mode == "central":
            account = RunStore(folder).account(config.run)
            for number in sorted({debit.round for debit in account.debits}):
                account.released(number)

    def settings() -> list[str]:
        """Every JSON file at the top that holds its own digest: of a simulation the result, too."""
        problems = []
        listed = FleetFolder(folder).digested_files() if FleetFolder.is_at(folder) else []
        for path in sorted(set(folder.glob("*.json")) - set(listed)):
            try:
                read_sealed_json(path)
            except FedstillError as error:
                problems.append(str(error))
        return problems

    look(settings)
    look(lambda: read_fleet_config(folder))
    look(RunStore(folder).check)
    look(account)
    look(lambda: damaged_artifacts(folder / "server" / "artifacts"))
    if FleetFolder.is_at(folder):
        fleet = FleetFolder(folder)
        look(lambda: fleet.settings)
        look(fleet.digests.problems)
        look(lambda: DeviceRegister(fleet.devices).all())
        look(AuditLog(folder).check)
        look(lambda: read_nodes(fleet.nodes))
        look(Repository(folder).problems)
    return list(dict.fromkeys(found))
