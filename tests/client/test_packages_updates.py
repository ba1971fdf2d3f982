"""A device follows its fleet's releases, with its private store as the memory of what is installed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from fedstill_client.fleet.membership import Membership
from fedstill_client.fleet.update import repair
from fedstill_client.packages import PackageError, load_installed, update
from fedstill_client.store import PrivateStore

from tests.client.package_samples import Fleet, full_package
from tests.client.samples import FAMILY


def test_a_device_installs_what_is_newer_and_nothing_else(tmp_path: Path) -> None:
    fleet = Fleet.at(tmp_path)
    with PrivateStore.create(fleet.home) as store:
        first = update(fleet.home, store, fleet.source, FAMILY)
        assert first is not None
        assert first.version == 1
        assert update(fleet.home, store, fleet.source, FAMILY) is None

        fleet.repository.publish([full_package(2)])
        second = update(fleet.home, store, fleet.source, FAMILY)
        assert second is not None
        assert second.version == 2
        assert load_installed(fleet.home, store).manifest.package_version == 2
        assert store.installations() == [first, second]


def test_a_refused_package_leaves_the_one_in_use(tmp_path: Path) -> None:
    fleet = Fleet.at(tmp_path)
    with PrivateStore.create(fleet.home) as store:
        update(fleet.home, store, fleet.source, FAMILY)
        fleet.repository.publish([full_package(2)])
        fleet.file(f"*.{FAMILY}.json").write_bytes(b"")
        with pytest.raises(PackageError):
            update(fleet.home, store, fleet.source, FAMILY)
        assert load_installed(fleet.home, store).manifest.package_version == 1
    with PrivateStore.open(fleet.home) as store:
        assert load_installed(fleet.home, store).manifest.package_version == 1


def test_parts_that_stay_as_they_are_are_not_downloaded_again(tmp_path: Path) -> None:
    fleet = Fleet.at(tmp_path)
    with PrivateStore.create(fleet.home) as store:
        update(fleet.home, store, fleet.source, FAMILY)
        fleet.repository.publish([full_package(2)])
        fleet.file("*.inference.onnx").unlink()
        second = update(fleet.home, store, fleet.source, FAMILY)
        assert second is not None
        assert second.version == 2
        (second.folder / "inference.onnx").write_bytes(b"")  # damaged here, and gone there
        with pytest.raises(PackageError, match="does not have a file"):
            update(fleet.home, store, fleet.source, FAMILY)


@pytest.mark.parametrize("damage", ["a byte", "the folder"])
def test_a_package_that_the_disk_has_damaged_is_fetched_again(tmp_path: Path, damage: str) -> None:
    fleet = Fleet.at(tmp_path)
    membership = Membership(run="0123abcd", address="localhost:9092", repository=str(fleet.repository.folder))
    membership.write(fleet.home)
    fleet.home.description.write_text(json.dumps({"name": "kitchen", "family": FAMILY}))
    with PrivateStore.create(fleet.home) as store:
        installed = update(fleet.home, store, fleet.source, FAMILY)
        assert installed is not None
        assert list(repair(fleet.home)) == []

        if damage == "a byte":
            file = installed.folder / "inference.onnx"
            file.write_bytes(file.read_bytes()[:-1] + b"?")
        else:
            shutil.rmtree(installed.folder)
        with pytest.raises(PackageError):
            load_installed(fleet.home, store)

        told = list(repair(fleet.home))

        assert len(told) == 1
        assert "is fetched again" in told[0]
        assert load_installed(fleet.home, store).manifest.package_version == 1
