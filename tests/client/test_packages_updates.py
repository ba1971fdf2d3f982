"""A device follows its fleet's releases, with its private store as the memory of what is installed."""

from __future__ import annotations

from pathlib import Path

import pytest
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
        fleet.file("*.inference.onnx").write_bytes(b"")
        with pytest.raises(PackageError):
            update(fleet.home, store, fleet.source, FAMILY)
        assert load_installed(fleet.home, store).manifest.package_version == 1
    with PrivateStore.open(fleet.home) as store:
        assert load_installed(fleet.home, store).manifest.package_version == 1
