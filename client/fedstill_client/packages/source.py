"""Fetches packages from the fleet's repository, verified after The Update Framework.

The device starts from the root metadata that its enrolment gave it and follows the fleet's keys from there.
What it has seen is kept in its trust folder, so that nobody can show it something older: the client side of
the TUF specification, sections 5.2 to 5.7 (theupdateframework.github.io), is tuf.ngclient's.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from fedstill_proto.checks import check_name
from fedstill_proto.errors import FieldError, InvalidValue, WireError
from fedstill_proto.generation import FIRST_GENERATION
from fedstill_proto.package.artifact import StudentPackage, check_parts
from fedstill_proto.package.manifest import MANIFEST_LIMIT_BYTES, PackagePart, StudentManifest
from fedstill_proto.package.release_plan import (
    PLAN_LIMIT_BYTES,
    RELEASE_PLAN_TARGET,
    ReleasePlan,
    candidate_path,
)
from fedstill_proto.secure_sums.enrolled import ENROLLED_TARGET, LIST_LIMIT_BYTES, EnrolledDevices
from fedstill_proto.system.files import replace_file
from fedstill_proto.system.tls_errors import this_date
from fedstill_proto.task_bounds import TaskBounds
from tuf.api import exceptions
from tuf.api.metadata import TargetFile
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig

from fedstill_client.packages.agent_version import check_agent_version
from fedstill_client.packages.errors import PackageError
from fedstill_client.packages.fetchers import DownloadLimits, FolderFetcher, HttpsFetcher, NotTrusted
from fedstill_client.packages.operators import check_package

ROOT_FILE = "root.json"
PACKAGE_LIMIT_BYTES = 1 << 30  # of all parts together
_METADATA_FOLDER = "metadata"
_DOWNLOADS = ".fetch-"  # how the folder begins that downloads go through
_IN_USE = ".lock"  # a file in it, locked for as long as somebody downloads

# From the special to the general: the first that fits names the check.
_CHECKS: tuple[tuple[type[Exception], str, str], ...] = (
    (exceptions.ExpiredMetadataError, "expired", "the repository's metadata is too old to be trusted"),
    (
        exceptions.BadVersionNumberError,
        "rollback",
        "the repository shows an older state, or a mixture of states",
    ),
    (exceptions.UnsignedMetadataError, "signature", "not signed by the fleet's keys"),
    (exceptions.LengthOrHashMismatchError, "digest", "a file is not the one that was signed"),
    (exceptions.DownloadLengthMismatchError, "size", "a file is larger than what was signed"),
    (exceptions.DownloadHTTPError, "missing", "the repository does not have a file that it should"),
    (NotTrusted, "trust", "the server that answers is not the fleet's"),
    (exceptions.DownloadError, "unreachable", "the repository does not answer"),
    (exceptions.RepositoryError, "metadata", "the repository's metadata cannot be read"),
    (OSError, "disk", "the trust folder cannot be read or written"),
)


@dataclass(frozen=True)
class FleetNews:
    """What a fleet says to one device.

    Attributes:
        plan: Its release plan; None where there never was a release in stages.
        path: Where the package for the device is, which `fetch` takes.
        version: The package's.
        generation: Of the fleet's configuration that the package belongs to.
    """

    plan: ReleasePlan | None
    path: str
    version: int
    generation: int = FIRST_GENERATION


@dataclass(frozen=True)
class PackageSource:
    """A repository, the fetcher for it, and the folder that holds what the device trusts.

    address: https://host:port/path, or an absolute folder; metadata/ and targets/ are below it.
    """

    address: str
    trust: Path
    fetcher: FetcherInterface

    @classmethod
    def of(cls, repository: str | Path, trust_folder: Path, *, ca: Path | None = None) -> PackageSource:
        """The source of a repository.

        Args:
            repository: An address that begins with https://, or a folder.
            trust_folder: The folder that holds what the device trusts.
            ca: A PEM file of the certificate authorities to trust instead of the system's.
        """
        text = str(repository).rstrip("/")
        if urlsplit(text).scheme == "https":
            return cls(text, trust_folder, HttpsFetcher(ca))
        if "://" in text:
            raise PackageError(
                "unreachable", f"{text}: give an address that begins with https://, or a folder"
            )
        folder = Path(text).resolve()
        return cls(str(folder), trust_folder, FolderFetcher(folder))

    @staticmethod
    def trust_root(trust_folder: Path, root: bytes) -> None:
        """Start trusting a fleet: `root` is the TUF root metadata that came with the enrolment.

        Raises PackageError where the device trusts another root already, or `root` does not sign itself.
        """
        file = trust_folder / ROOT_FILE
        if file.exists() and file.read_bytes() != root:
            raise PackageError("trust", f"{file}: this device trusts another fleet; enrol it in a new home")
        (trust_folder / _METADATA_FOLDER).mkdir(parents=True, exist_ok=True, mode=0o700)
        with _as_package_errors():
            Updater(
                str(trust_folder / _METADATA_FOLDER), "", bootstrap=root, fetcher=FolderFetcher(trust_folder)
            )
        replace_file(file, root)

    def newest_version(self, family: str) -> int:
        """The version of the family's stable package in the repository; raises PackageError."""
        with _as_package_errors():
            return _version(_target(self._updater(), manifest_path(family)), family)

    def news(self, family: str, public_key: str) -> FleetNews:
        """What the fleet says now, as its keys signed it: its release plan, and the package for this device.

        Args:
            family: The device's student family.
            public_key: The device's, as OpenSSH writes it: it says whether the device is in a stage.

        Raises:
            PackageError: It cannot be had.
        """
        with _as_package_errors(), self._download_folder() as folder:
            updater = self._updater()
            plan = _plan(updater, folder)
            path = manifest_path(family)
            if plan is not None and plan.takes(public_key):
                candidate = candidate_path(family)  # a release need not be of all families
                path = candidate if updater.get_targetinfo(candidate) is not None else path
            target = _target(updater, path)
            return FleetNews(plan, path, _version(target, family), _generation(target))

    def enrolled(self) -> EnrolledDevices:
        """The fleet's list of devices, as it was signed last; raises PackageError."""
        with _as_package_errors(), self._download_folder() as folder:
            updater = self._updater()
            target = _target(updater, ENROLLED_TARGET)
            if target.length > LIST_LIMIT_BYTES:
                raise PackageError(
                    "size", f"{target.path}: {target.length} bytes, more than {LIST_LIMIT_BYTES}"
                )
            content = Path(updater.download_target(target, str(folder / "file"))).read_bytes()
        try:
            return EnrolledDevices.from_bytes(content)
        except WireError as error:
            raise PackageError("devices", str(error)) from None

    def statement(self, family: str, *, path: str | None = None) -> TaskBounds | None:
        """What the fleet will ask of devices of the family, as it signed it; None where it says nothing.

        Args:
            family: The student family.
            path: Which of its packages; the stable one by default.

        Raises:
            PackageError: It cannot be had, or this version of the agent cannot read it.
        """
        with _as_package_errors():
            custom = _target(self._updater(), path or manifest_path(family)).custom
        asks = custom.get("asks") if isinstance(custom, dict) else None
        if asks is None:
            return None
        try:
            return TaskBounds.from_json(json.loads(asks))
        except (InvalidValue, ValueError, TypeError) as error:
            raise PackageError("metadata", f"what the fleet asks cannot be read: {error}") from None

    def fetch(
        self,
        family: str,
        *,
        path: str | None = None,
        held: Callable[[PackagePart], bytes | None] = lambda part: None,
    ) -> StudentPackage:
        """A package of the family, every byte verified; raises PackageError.

        Args:
            family: The student family.
            path: Which of its packages, as `news` names it; the stable one by default.
            held: Gives the content of a part that the device has already, once it is verified: it is not
                downloaded again. By default there are none.
        """
        with _as_package_errors(), self._download_folder() as folder:
            # Only the metadata is for one process at a time: a slow package keeps nobody from it.
            updater, download = self._updater(), folder / "file"
            self._allow(lambda limits: limits.package_s)

            def read(path: str, expected: Callable[[TargetFile], None]) -> bytes:
                target = _target(updater, path)
                expected(target)
                return Path(updater.download_target(target, str(download))).read_bytes()

            manifest = _manifest(read(path or manifest_path(family), _small_enough), family)
            contents = {}
            for part in manifest.parts:
                path, is_part, content = f"parts/{part.sha256}/{part.name}", _is_part(part), held(part)
                if content is None:
                    content = read(path, is_part)
                else:
                    is_part(_target(updater, path))
                contents[part.name] = content
        return _package(manifest, contents)

    def _updater(self) -> Updater:
        """An updater whose metadata is as new as the repository's; it writes no more of it afterwards."""
        file = self.trust / ROOT_FILE
        if not file.is_file():
            raise PackageError("trust", f"{file}: missing; enrol this device with fedstill-agent enrol")
        with self._locked():
            self._allow(lambda limits: limits.metadata_s)
            updater = Updater(
                str(self.trust / _METADATA_FOLDER),
                f"{self.address}/metadata/",
                target_base_url=f"{self.address}/targets/",
                fetcher=self.fetcher,
                config=UpdaterConfig(max_delegations=0),
                bootstrap=file.read_bytes(),
            )
            updater.refresh()
        return updater

    def _allow(self, seconds: Callable[[DownloadLimits], float]) -> None:
        """Let what is fetched next take so long; a folder is as fast as it is."""
        if isinstance(self.fetcher, HttpsFetcher):
            self.fetcher.allow(seconds(self.fetcher.limits))

    @contextmanager
    def _download_folder(self) -> Iterator[Path]:
        """A folder that downloads go through; what killed processes left of theirs is removed."""
        with self._locked():
            for leftover in self.trust.glob(f"{_DOWNLOADS}*"):
                with (leftover / _IN_USE).open("a") as lock, contextlib.suppress(BlockingIOError):
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(leftover, ignore_errors=True)
            folder = Path(tempfile.mkdtemp(prefix=_DOWNLOADS, dir=self.trust))
            in_use = (folder / _IN_USE).open("a")
            fcntl.flock(in_use, fcntl.LOCK_EX)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            in_use.close()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One process at a time: tuf's folder of trusted metadata is not made for two."""
        with (self.trust / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


@contextmanager
def _as_package_errors() -> Iterator[None]:
    """Turn what tuf and the disk raise into a PackageError."""
    try:
        yield
    except (exceptions.RepositoryError, exceptions.DownloadError, OSError) as error:
        check, meaning = next((name, text) for kind, name, text in _CHECKS if isinstance(error, kind))
        if isinstance(error, NotTrusted) and error.is_date:
            check = "expired"
        if isinstance(error, exceptions.ExpiredMetadataError):
            meaning += f"; this device's clock says {this_date()}: is that right?"
        raise PackageError(check, f"{meaning} ({str(error)[:200] or type(error).__name__})") from error


def manifest_path(family: str) -> str:
    """Where the repository offers the manifest of a family's stable package."""
    check_name("family", family)
    return f"students/{family}.json"


def _plan(updater: Updater, folder: Path) -> ReleasePlan | None:
    """The fleet's release plan; None where it has none. Raises PackageError for one that cannot be read."""
    target = updater.get_targetinfo(RELEASE_PLAN_TARGET)
    if target is None:
        return None
    if target.length > PLAN_LIMIT_BYTES:
        raise PackageError("size", f"{target.path}: {target.length} bytes, more than {PLAN_LIMIT_BYTES}")
    try:
        return ReleasePlan.from_bytes(
            Path(updater.download_target(target, str(folder / "plan"))).read_bytes()
        )
    except WireError as error:
        raise PackageError("plan", str(error)) from None


def _version(target: TargetFile, family: str) -> int:
    number = target.custom.get("package_version") if isinstance(target.custom, dict) else None
    if type(number) is not int:
        raise PackageError("metadata", f"{family}: the repository does not state its package's version")
    return number


def _generation(target: TargetFile) -> int:
    number = target.custom.get("generation") if isinstance(target.custom, dict) else None
    return number if type(number) is int else FIRST_GENERATION


def _target(updater: Updater, path: str) -> TargetFile:
    target = updater.get_targetinfo(path)
    if target is None:
        raise PackageError("missing", f"{path}: the repository's newest release has no such file")
    return target


def _small_enough(target: TargetFile) -> None:
    if target.length > MANIFEST_LIMIT_BYTES:
        raise PackageError("size", f"{target.path}: {target.length} bytes, more than {MANIFEST_LIMIT_BYTES}")


def _is_part(part: PackagePart) -> Callable[[TargetFile], None]:
    """Holds the signed entry against the manifest's before anything is downloaded."""

    def check(target: TargetFile) -> None:
        if target.length != part.size_bytes or target.hashes.get("sha256") != part.sha256:
            raise PackageError("digest", f"{part.name}: manifest and signed metadata name different files")

    return check


def _manifest(content: bytes, family: str) -> StudentManifest:
    try:
        manifest = StudentManifest.from_json(content)
        check_parts(manifest)
    except FieldError as error:
        raise PackageError("manifest", str(error)) from None
    if manifest.family != family or manifest.package_version < 1:
        problem = (
            f"package {manifest.package_version} of {manifest.family!r} stands where {family!r}'s should"
        )
        raise PackageError("manifest", problem)
    check_agent_version(manifest)
    size = sum(part.size_bytes for part in manifest.parts)
    if size > PACKAGE_LIMIT_BYTES:
        raise PackageError("size", f"{size} bytes of parts, more than {PACKAGE_LIMIT_BYTES}")
    return manifest


def _package(manifest: StudentManifest, contents: dict[str, bytes]) -> StudentPackage:
    try:
        package = StudentPackage.of_contents(manifest, contents)
    except FieldError as error:
        raise PackageError("manifest", str(error)) from None
    check_package(package)
    return package
