"""A fleet's repository of packages: releases, keys, and what a crash leaves."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fedstill_proto.package.artifact import StudentPackage
from fedstill_server.publish.errors import PublishError
from fedstill_server.publish.keys import ROLES
from fedstill_server.publish.metadata_files import MetadataFiles
from fedstill_server.publish.repository import Repository
from tuf.api.metadata import Root, Snapshot, Targets, Timestamp

from tests.client.samples import student_package


def package(version: int, *, family: str = "mlp-small") -> StudentPackage:
    before = student_package()
    manifest = dataclasses.replace(before.manifest, family=family, package_version=version)
    return dataclasses.replace(before, manifest=manifest)


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository.create(tmp_path)


def metadata(repository: Repository) -> MetadataFiles:
    return MetadataFiles(repository.folder / "metadata")


def test_a_new_repository_offers_nothing_and_its_keys_are_the_owner_s(repository: Repository) -> None:
    assert repository.published() == {}
    assert repository.next_version() == 1
    keys = sorted(repository.keys.folder.glob("*.pem"))
    assert sorted(key.name.split("-")[0] for key in keys) == sorted(ROLES)
    assert {key.stat().st_mode & 0o777 for key in keys} == {0o600}


def test_a_repository_is_made_once(repository: Repository) -> None:
    with pytest.raises(PublishError, match="there is a repository already"):
        Repository.create(repository.fleet)


def test_there_must_be_a_repository(tmp_path: Path) -> None:
    with pytest.raises(PublishError, match="no repository of packages here"):
        Repository.open(tmp_path)


def test_a_release_replaces_a_family_and_leaves_the_others(repository: Repository) -> None:
    repository.publish([package(1, family="one"), package(1, family="two")])
    repository.publish([package(2, family="two")])
    versions = {name: student.package_version for name, student in repository.published().items()}
    assert versions == {"one": 1, "two": 2}
    assert repository.next_version() == 3
    parts = package(1).contents()
    manifest = (repository.folder / "targets" / "students").glob("*.one.json")
    sizes = sum(map(len, parts.values())) + next(manifest).stat().st_size
    assert repository.published()["one"].size_bytes == sizes


def test_an_older_package_is_not_published(repository: Repository) -> None:
    repository.publish([package(2)])
    with pytest.raises(PublishError, match="version 2 is not above 2"):
        repository.publish([package(2)])


def test_files_of_the_last_two_releases_are_kept(repository: Repository) -> None:
    for version in (1, 2, 3):
        repository.publish([package(version)])
    manifests = (repository.folder / "targets" / "students").iterdir()
    versions = {json.loads(path.read_text())["package_version"] for path in manifests}
    assert versions == {2, 3}


def test_timestamp_and_snapshot_name_the_bytes_of_the_next_file(repository: Repository) -> None:
    repository.publish([package(1)])
    files = metadata(repository)
    snapshot = (files.folder / f"{files.read(Snapshot).version}.snapshot.json").read_bytes()
    targets = (files.folder / f"{files.read(Targets).version}.targets.json").read_bytes()
    assert files.read(Timestamp).snapshot_meta.hashes == {"sha256": hashlib.sha256(snapshot).hexdigest()}
    listed = files.read(Snapshot).meta["targets.json"]
    assert (listed.length, listed.hashes) == (len(targets), {"sha256": hashlib.sha256(targets).hexdigest()})


def test_refreshing_signs_a_new_timestamp_and_keeps_the_list(repository: Repository) -> None:
    repository.publish([package(1)])
    targets = metadata(repository).read(Targets)
    timestamp = metadata(repository).read(Timestamp)
    later = datetime.now(UTC) + timedelta(days=6)
    repository.refresh(now=later)
    assert metadata(repository).read(Targets) == targets
    assert metadata(repository).read(Timestamp).version == timestamp.version + 1
    assert metadata(repository).read(Timestamp).expires > later + timedelta(days=6)


def test_refreshing_renews_what_is_past_half_its_life(repository: Repository) -> None:
    later = datetime.now(UTC) + timedelta(days=200)
    repository.refresh(now=later)
    assert metadata(repository).root().version == 2
    assert metadata(repository).root().expires > later + timedelta(days=364)
    assert metadata(repository).read(Targets).version == 2


@pytest.mark.parametrize("role", ROLES)
def test_a_rotated_key_replaces_the_old_one(repository: Repository, role: str) -> None:
    before = metadata(repository).root()
    keyid = repository.rotate(role)
    after = metadata(repository).root()
    assert after.roles[role].keyids == [keyid] != before.roles[role].keyids
    assert after.version == before.version + 1
    assert len(list(repository.keys.folder.glob("*.pem"))) == len(ROLES)
    repository.publish([package(1)])
    assert repository.next_version() == 2


def test_a_rotation_that_died_before_the_new_root_leaves_the_old_keys_in_force(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = MetadataFiles.write

    def no_root(self: MetadataFiles, signed: object, *arguments: object, **options: object) -> None:
        if isinstance(signed, Root):
            raise KeyboardInterrupt
        write(self, signed, *arguments, **options)  # type: ignore[arg-type, type-var]

    with monkeypatch.context() as patched:
        patched.setattr(MetadataFiles, "write", no_root)
        with pytest.raises(KeyboardInterrupt):
            repository.rotate("targets")
    repository.publish([package(1)])
    assert metadata(repository).root().version == 1
    repository.rotate("targets")
    assert len(list(repository.keys.folder.glob("targets-*.pem"))) == 1


def test_a_key_that_others_may_read_signs_nothing(repository: Repository) -> None:
    key = next(repository.keys.folder.glob("snapshot-*.pem"))
    key.chmod(0o644)
    with pytest.raises(PublishError, match="chmod 600"):
        repository.refresh()


def test_a_missing_key_is_named(repository: Repository) -> None:
    next(repository.keys.folder.glob("root-*.pem")).unlink()
    with pytest.raises(PublishError, match="no private key of the role 'root'"):
        repository.rotate("root")
    with pytest.raises(PublishError, match="role 'mirror' is not one of"):
        repository.rotate("mirror")


def test_each_file_is_signed_by_its_own_role_and_nobody_else(repository: Repository) -> None:
    repository.publish([package(1)])
    repository.rotate("timestamp")
    repository.publish([package(2)])

    root = metadata(repository).root()
    newest = {
        role: max(
            (repository.folder / "metadata").glob(f"*{role}.json"), key=lambda path: path.stat().st_mtime_ns
        )
        for role in ROLES
    }
    for role, file in newest.items():
        signatures = json.loads(file.read_text())["signatures"]
        assert [each["keyid"] for each in signatures] == root.roles[role].keyids, role
