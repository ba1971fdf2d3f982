"""Puts a package into the agent's home so that a crash leaves the old one or the new one, and loads it again.

The folder is written beside its place, synced and renamed, and then the private store records the digest of
its manifest. The record decides: until it is there, the package before is the one in use. With it, the
owner's student goes over to the new package, where that has the same parameters and reads examples alike.
"""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

from fedstill_proto.errors import FieldError, WireError
from fedstill_proto.package.artifact import (
    CONSTRAINTS_FILE,
    MANIFEST_FILE,
    TOKENIZER_FILE,
    StudentPackage,
    check_parts,
    save_package,
)
from fedstill_proto.package.constraints.constraints import Constraints
from fedstill_proto.package.constraints.union import dropped
from fedstill_proto.package.manifest import MANIFEST_LIMIT_BYTES, PackagePart, StudentManifest

from fedstill_client.home import AgentHome
from fedstill_client.model.suppression import package_constraints
from fedstill_client.packages.agent_version import check_agent_version
from fedstill_client.packages.errors import PackageError
from fedstill_client.packages.installed import InstallationRecord, InstalledPackage, KeptStudent
from fedstill_client.packages.operators import check_package


def install(
    home: AgentHome, store: InstallationRecord, package: StudentPackage, *, may_be_older: bool = False
) -> InstalledPackage:
    """Make `package` the one in use; keeps the one before, and removes those before that.

    Args:
        home: The device's.
        store: Its private store.
        package: The package.
        may_be_older: Whether it may be older than the one in use, as the fleet has withdrawn that.

    Raises:
        PackageError: It is older than the one in use, this agent cannot run it, or it suppresses less than
            the one in use does, and its publisher does not say so.
    """
    manifest, before = _with_parts(package), store.installed()
    check_agent_version(manifest)
    check_package(package)
    wanted, replaced = _described(home, package), _replaced(home, store)
    is_older = may_be_older and before is not None and wanted.version < before.version
    if before is not None and not is_older and _is_in_use(wanted, before) and is_whole(home, store):
        return before
    if not is_older:  # a publisher who withdraws a package withdraws its constraints with it
        _check_constraints(home, store, package)
    try:
        save_package(wanted.folder, package)
    except OSError as error:
        raise PackageError("disk", f"{wanted.folder}: cannot be written: {error.strerror}") from None
    anew = "" if replaced is None else why_anew(replaced, manifest)
    kept = None
    if replaced is not None and not anew and not is_older:  # its students are still in the store
        same = replaced.generation == manifest.generation
        kept = KeptStudent(replaced.package_version, manifest.parameters, same_generation=same)
    owners = None if replaced is None or is_older else _owners(store, replaced, manifest, anew)
    store.record_installation(wanted, keeping=kept, owners=0 if owners is None else owners.version)
    _remove_all_but(home.packages, wanted, before, owners)
    if replaced is not None and replaced.generation != manifest.generation:
        _forget_told(home, store)
    return replace(wanted, anew=anew)


def go_back(home: AgentHome, store: InstallationRecord, earlier: InstalledPackage) -> InstalledPackage:
    """Make a package that was in use the one in use again, with what the device had learned by then.

    Raises PackageError where its files are gone or damaged; the package in use stays.
    """
    replaced = _replaced(home, store)
    manifest = load_package(home, earlier).manifest
    store.record_installation(replace(earlier, tokenizer=_tokenizer(manifest)))
    if replaced is not None and replaced.generation != manifest.generation:
        _forget_told(home, store)
    return earlier


def _check_constraints(home: AgentHome, store: InstallationRecord, package: StudentPackage) -> None:
    """Refuse a package without what the one in use binds the later ones to suppress."""
    try:
        manifest, folder = installed_manifest(home, store)
        part = next(part for part in manifest.parts if part.name == CONSTRAINTS_FILE)
        before = Constraints.from_json(_part(folder, part))
    except (PackageError, WireError, StopIteration):  # there is none, or it is damaged and being replaced
        return
    left_out = dropped(before, package_constraints(package))
    if left_out:
        raise PackageError(
            "constraints",
            f"package {package.manifest.package_version} of {package.manifest.family!r} no longer suppresses "
            f"{', '.join(left_out)[:200]}, which package {manifest.package_version} binds it to; its "
            "publisher must say so, as `lifted` of its constraints",
        )


def _forget_told(home: AgentHome, store: InstallationRecord) -> None:
    """Answers and tasks of another generation are coded against none of these, and no round of it is answered
    by what was sent before.
    """
    store.forget_kept_answers()
    shutil.rmtree(home.answers, ignore_errors=True)
    home.told.unlink(missing_ok=True)


def _owners(
    store: InstallationRecord, replaced: StudentManifest, manifest: StudentManifest, anew: str
) -> InstalledPackage | None:
    """The earlier package that goes on answering the owner until the owner's student is re-based."""
    if replaced.family != manifest.family:
        return None
    return store.owners() or (store.installed() if anew else None)


def why_anew(before: StudentManifest, after: StudentManifest) -> str:
    """Why a personal student of one package cannot go on under another; "" where it can."""
    if before.family != after.family:
        return f"the package is of the family {after.family!r}, and was of {before.family!r}"
    if (before.parameters, before.target) != (after.parameters, after.target):
        return f"the parameters of {after.family!r} have other shapes now"
    if not before.input_rule.reads_as(after.input_rule) or before.columns != after.columns:
        return f"{after.family!r} reads examples in another way now"
    if _tokenizer(before) != _tokenizer(after):
        return f"{after.family!r} reads texts as other sub-words now"
    return ""


def _tokenizer(manifest: StudentManifest) -> str:
    """What texts become under a package: the same for those that make the same rows of them; "" of none."""
    subwords = manifest.subwords
    if subwords is None:
        return ""
    digest = next((part.sha256 for part in manifest.parts if part.name == TOKENIZER_FILE), "")
    return f"{digest[:32]}.{subwords.places}.{subwords.pad}"


def _replaced(home: AgentHome, store: InstallationRecord) -> StudentManifest | None:
    """The manifest of the package in use, where there is one and its file is whole."""
    try:
        return installed_manifest(home, store)[0]
    except PackageError:
        return None


def load_installed(home: AgentHome, store: InstallationRecord) -> StudentPackage:
    """The package in use, its files verified against what was recorded when it was installed."""
    installed = store.installed()
    if installed is None:
        raise PackageError("missing", f"{home.folder}: no package is installed; enrol this device")
    return load_package(home, installed)


def load_package(home: AgentHome, installed: InstalledPackage) -> StudentPackage:
    """A package that is or was in use, its files verified; raises PackageError."""
    manifest, folder = _manifest_of(home, installed)
    try:
        check_parts(manifest)
        contents = {part.name: _part(folder, part) for part in manifest.parts}
        package = StudentPackage.of_contents(manifest, contents)
    except FieldError as error:
        raise PackageError("manifest", f"{folder}: {error}") from None
    check_package(package)
    return package


def installed_manifest(home: AgentHome, store: InstallationRecord) -> tuple[StudentManifest, Path]:
    """The manifest of the package in use, as it was installed, and the package's folder; no other file is
    read. Raises PackageError.
    """
    installed = store.installed()
    if installed is None:
        raise PackageError("missing", f"{home.folder}: no package is installed; enrol this device")
    return _manifest_of(home, installed)


def _manifest_of(home: AgentHome, installed: InstalledPackage) -> tuple[StudentManifest, Path]:
    folder = home.packages / installed.folder.name
    content = _read(folder / MANIFEST_FILE, MANIFEST_LIMIT_BYTES)
    if hashlib.sha256(content).hexdigest() != installed.manifest_sha256:
        raise PackageError("digest", f"{folder / MANIFEST_FILE}: not the manifest that was installed")
    try:
        return StudentManifest.from_json(content), folder
    except FieldError as error:
        raise PackageError("manifest", f"{folder}: {error}") from None


def _with_parts(package: StudentPackage) -> StudentManifest:
    return package.manifest if package.manifest.parts else package.manifest.with_parts(package.contents())


def _described(home: AgentHome, package: StudentPackage) -> InstalledPackage:
    manifest = package.manifest.with_parts(package.contents())
    folder = home.packages / f"{manifest.package_version}-{manifest.family}"
    digest = hashlib.sha256(manifest.to_json().encode()).hexdigest()
    return InstalledPackage(
        manifest.package_version, manifest.family, folder, digest, tokenizer=_tokenizer(manifest)
    )


def _is_in_use(wanted: InstalledPackage, before: InstalledPackage) -> bool:
    """Whether the package in use is the wanted one; raises PackageError if it is newer, or its namesake."""
    if before.family != wanted.family or before.version < wanted.version:
        return False
    if before.version > wanted.version or before.manifest_sha256 != wanted.manifest_sha256:
        raise PackageError(
            "version",
            f"package {wanted.version} of {wanted.family!r} is not newer than the installed {before.version}",
        )
    return True


def is_whole(home: AgentHome, store: InstallationRecord) -> bool:
    """Whether the files of the package in use are as they were installed."""
    try:
        load_installed(home, store)
    except PackageError:
        return False
    return True


def held_part(home: AgentHome, store: InstallationRecord, part: PackagePart) -> bytes | None:
    """The content of a part, where the package in use has just this one; None otherwise."""
    installed = store.installed()
    try:
        return None if installed is None else _part(home.packages / installed.folder.name, part)
    except PackageError:
        return None


def _part(folder: Path, part: PackagePart) -> bytes:
    content = _read(folder / part.name, part.size_bytes)
    if PackagePart.of(part.name, content) != part:
        raise PackageError("digest", f"{folder / part.name}: not the file that was installed")
    return content


def _read(path: Path, limit_bytes: int) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(limit_bytes + 1)
    except OSError as error:
        raise PackageError("missing", f"{path}: cannot be read: {error.strerror}") from None
    if len(content) > limit_bytes:
        raise PackageError("size", f"{path}: larger than the {limit_bytes} bytes that were installed")
    return content


def _remove_all_but(packages: Path, *kept: InstalledPackage | None) -> None:
    names = {package.folder.name for package in kept if package is not None}
    for folder in packages.iterdir():
        if folder.name not in names:
            shutil.rmtree(folder, ignore_errors=True)
