"""What a device takes from its fleet's repository, and every attack on the way that it must not."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from fedstill_client.packages import PackageError, PackageSource
from fedstill_server.publish.keys import ROLES
from fedstill_server.publish.repository import Repository
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Timestamp

from tests.client.package_samples import Fleet, full_package
from tests.client.samples import FAMILY


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet.at(tmp_path)


def refusal(fleet: Fleet) -> str:
    """The check that refuses what the repository now shows."""
    with pytest.raises(PackageError) as caught:
        fleet.source.fetch(FAMILY)
    return caught.value.check


def test_a_published_package_arrives_whole(fleet: Fleet) -> None:
    fetched, published = fleet.source.fetch(FAMILY), full_package(1)
    assert fetched.manifest == published.manifest.with_parts(published.contents())
    assert fetched.contents() == published.contents()
    assert all(
        np.array_equal(fetched.parameters[name], published.parameters[name]) for name in fetched.parameters
    )
    assert fleet.source.newest_version(FAMILY) == 1


def test_the_next_package_is_found(fleet: Fleet) -> None:
    fleet.source.fetch(FAMILY)
    fleet.repository.publish([full_package(2)])
    assert fleet.source.newest_version(FAMILY) == 2
    assert fleet.source.fetch(FAMILY).manifest.package_version == 2


def test_a_family_that_is_not_published_is_said_to_be_missing(fleet: Fleet) -> None:
    with pytest.raises(PackageError, match="no such file") as caught:
        fleet.source.fetch("cnn")
    assert caught.value.check == "missing"


def test_rollback_to_an_older_release_is_refused(fleet: Fleet) -> None:
    old = fleet.keep("old")
    fleet.repository.publish([full_package(2)])
    fleet.source.fetch(FAMILY)
    fleet.show(old)
    assert refusal(fleet) == "rollback"


def test_an_older_snapshot_under_a_new_timestamp_is_refused(fleet: Fleet) -> None:
    old = fleet.file("*.snapshot.json").read_bytes()
    fleet.repository.publish([full_package(2)])
    fleet.file("*.snapshot.json").write_bytes(old)
    assert refusal(fleet) == "digest"


def test_a_frozen_repository_is_refused_once_its_word_is_old(tmp_path: Path) -> None:
    fleet = Fleet.at(tmp_path)
    fleet.repository.refresh(now=datetime.now(UTC) - timedelta(days=8))
    with pytest.raises(PackageError, match=f"this device's clock says {datetime.now(UTC):%Y-%m-%d}"):
        fleet.source.fetch(FAMILY)
    assert refusal(fleet) == "expired"
    fleet.repository.refresh()
    assert fleet.source.fetch(FAMILY).manifest.package_version == 1


def test_the_list_of_another_release_is_refused(fleet: Fleet) -> None:
    old = fleet.file("*.targets.json").read_bytes()
    fleet.repository.publish([full_package(2)])
    fleet.file("*.targets.json").write_bytes(old)
    assert refusal(fleet) == "digest"


def test_the_manifest_of_another_release_is_refused(fleet: Fleet) -> None:
    old = fleet.file(f"*.{FAMILY}.json").read_bytes()
    fleet.repository.publish([full_package(2)])
    fleet.file(f"*.{FAMILY}.json").write_bytes(old)
    assert refusal(fleet) == "digest"


def test_a_part_in_the_place_of_another_is_refused(fleet: Fleet) -> None:
    shutil.copy(fleet.file("*.forward.onnx"), fleet.file("*.inference.onnx"))
    assert refusal(fleet) in ("digest", "size")


def test_a_tampered_part_is_refused(fleet: Fleet) -> None:
    part = fleet.file("*.parameters.safetensors")
    content = bytearray(part.read_bytes())
    content[-1] ^= 1
    part.write_bytes(content)
    assert refusal(fleet) == "digest"


def test_a_part_without_end_is_cut_off(fleet: Fleet) -> None:
    with fleet.file("*.training.onnx").open("ab") as part:
        part.write(bytes(1000))
    assert refusal(fleet) == "size"


def test_a_missing_part_is_named(fleet: Fleet) -> None:
    fleet.file("*.training.onnx").unlink()
    assert refusal(fleet) == "missing"


def test_a_repository_signed_with_other_keys_is_refused(fleet: Fleet, tmp_path: Path) -> None:
    attacker = Repository.create(tmp_path / "attacker")
    attacker.publish([full_package(7)])
    fleet.show(attacker.folder)
    assert refusal(fleet) == "signature"


def test_a_root_that_the_old_root_did_not_sign_is_refused(fleet: Fleet, tmp_path: Path) -> None:
    attacker = Repository.create(tmp_path / "attacker")
    attacker.rotate("root")
    shutil.copy(attacker.folder / "metadata" / "2.root.json", fleet.repository.folder / "metadata")
    assert refusal(fleet) == "signature"


@pytest.mark.parametrize("role", ROLES)
def test_a_device_that_was_away_follows_a_rotated_key(fleet: Fleet, role: str) -> None:
    fleet.source.fetch(FAMILY)
    fleet.repository.rotate(role)
    fleet.repository.publish([full_package(2)])
    fleet.repository.rotate(role)
    assert fleet.source.fetch(FAMILY).manifest.package_version == 2


def test_a_key_that_was_rotated_out_signs_nothing_any_more(fleet: Fleet) -> None:
    key = next(fleet.repository.keys.folder.glob("timestamp-*.pem"))
    stolen = key.read_bytes()
    fleet.repository.rotate("timestamp")
    fleet.repository.publish([full_package(2)])
    fleet.source.fetch(FAMILY)
    # The thief signs a newer timestamp that says the same: the device does not believe it.
    file = fleet.repository.folder / "metadata" / "timestamp.json"
    timestamp: Metadata[Timestamp] = Metadata.from_bytes(file.read_bytes())
    timestamp.signed.version += 1
    timestamp.sign(CryptoSigner(load_pem_private_key(stolen, None)))  # type: ignore[arg-type]
    timestamp.to_file(str(file))
    assert refusal(fleet) == "signature"


def test_a_package_for_a_newer_agent_is_refused(fleet: Fleet) -> None:
    fleet.repository.publish([full_package(2, lowest_agent_version="99.0.0")])
    with pytest.raises(PackageError, match=r"needs fedstill 99\.0\.0.*update the agent") as caught:
        fleet.source.fetch(FAMILY)
    assert caught.value.check == "agent-version"


def test_a_device_trusts_one_fleet(fleet: Fleet, tmp_path: Path) -> None:
    other = Repository.create(tmp_path / "other")
    with pytest.raises(PackageError, match="trusts another fleet"):
        PackageSource.trust_root(fleet.home.trust, other.trusted_root())
    PackageSource.trust_root(
        fleet.home.trust, (fleet.repository.folder / "metadata" / "1.root.json").read_bytes()
    )


@pytest.mark.parametrize("content", [b"", b"{}", b"not json"])
def test_a_root_that_is_none_is_not_trusted(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(PackageError) as caught:
        PackageSource.trust_root(tmp_path / "trust", content)
    assert caught.value.check == "metadata"
    assert not (tmp_path / "trust" / "root.json").exists()


def test_an_address_must_be_https_or_a_folder(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="begins with https://"):
        PackageSource.of("http://fleet.example/repository", tmp_path)


def test_a_device_that_was_not_enrolled_is_told_so(fleet: Fleet, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    source = PackageSource.of(fleet.repository.folder, tmp_path / "new")
    with pytest.raises(PackageError, match="enrol this device"):
        source.fetch(FAMILY)
