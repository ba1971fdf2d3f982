"""The files that devices download: manifests of families, the parts that they name, and the release plan."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from fedstill_proto.generation import FIRST_GENERATION
from fedstill_proto.package.artifact import StudentPackage
from fedstill_proto.package.manifest import PackagePart, StudentManifest
from fedstill_proto.package.release_plan import RELEASE_PLAN_TARGET, ReleasePlan
from fedstill_proto.secure_sums.enrolled import ENROLLED_TARGET, EnrolledDevices
from fedstill_proto.system.files import SHARED, replace_file
from fedstill_proto.task_bounds import TaskBounds
from tuf.api.metadata import TargetFile

STABLE, CANDIDATE, PREVIOUS = "students", "candidates", "previous"
"""Where manifests stand: for all devices, for those of a stage, and what was stable before."""


@dataclass(frozen=True)
class TargetFiles:
    """The folder of targets; file names begin with the digest of their content (TUF's consistent
    snapshots).
    """

    folder: Path

    def put(
        self, package: StudentPackage, asks: TaskBounds | None = None, *, place: str = STABLE
    ) -> dict[str, TargetFile]:
        """Write a package's parts and manifest; returns their entries in the targets metadata, by path.

        The manifest's entry, which is signed, also says what devices of the family will be asked.

        Args:
            package: The package.
            asks: What devices of its family will be asked.
            place: STABLE, or CANDIDATE for one that some devices are to use first.
        """
        contents = package.contents()
        manifest = package.manifest.with_parts(contents)
        entries = {}
        for part in manifest.parts:
            path = f"parts/{part.sha256}/{part.name}"
            entries[path] = self._write(path, contents[part.name])
        path = f"{place}/{manifest.family}.json"
        listed = self._write(path, manifest.to_json().encode())
        listed.unrecognized_fields["custom"] = {
            "package_version": manifest.package_version,
            "parts": list(entries),
            "parts_bytes": sum(part.size_bytes for part in manifest.parts),
        }
        if manifest.generation != FIRST_GENERATION:
            listed.unrecognized_fields["custom"]["generation"] = manifest.generation
        if asks is not None:
            # As a text: the canonical form that is signed has no fractions.
            listed.unrecognized_fields["custom"]["asks"] = json.dumps(asks.to_json())
        return {**entries, path: listed}

    def put_elsewhere(self, entry: TargetFile, place: str) -> dict[str, TargetFile]:
        """Write a manifest that is offered at another place, with what its entry says."""
        path = f"{place}/{PurePosixPath(entry.path).name}"
        moved = self._write(path, self._file(entry).read_bytes())
        moved.unrecognized_fields["custom"] = entry.custom
        return {path: moved}

    def manifest(self, entry: TargetFile) -> StudentManifest:
        """The manifest that an entry stands for; raises WireError, or OSError where it is gone."""
        return StudentManifest.from_json(self._file(entry).read_bytes())

    def part(self, part: PackagePart) -> bytes:
        """The content of a part of a manifest; raises OSError where it is gone."""
        return (self.folder / "parts" / part.sha256 / f"{part.sha256}.{part.name}").read_bytes()

    def put_plan(self, plan: ReleasePlan) -> dict[str, TargetFile]:
        """Write the release plan; returns its entry in the targets metadata, by path."""
        listed = self._write(RELEASE_PLAN_TARGET, plan.to_bytes())
        listed.unrecognized_fields["custom"] = {"version": plan.version, "parts": []}
        return {RELEASE_PLAN_TARGET: listed}

    def plan(self, entry: TargetFile) -> ReleasePlan:
        """The release plan that an entry stands for; raises WireError, or OSError where it is gone."""
        return ReleasePlan.from_bytes(self._file(entry).read_bytes())

    def put_devices(self, devices: EnrolledDevices) -> dict[str, TargetFile]:
        """Write the list of devices; returns its entry in the targets metadata, by path."""
        listed = self._write(ENROLLED_TARGET, devices.to_bytes())
        listed.unrecognized_fields["custom"] = {"version": devices.version, "parts": []}
        return {ENROLLED_TARGET: listed}

    def remove_all_but(self, entries: Iterable[TargetFile]) -> None:
        """Remove the files of releases that no device reads any more."""
        kept = {self._file(entry) for entry in entries}
        for file in sorted(self.folder.rglob("*"), reverse=True):
            if file.is_file() and file not in kept:
                file.unlink()
            elif file.is_dir() and not any(file.iterdir()):
                file.rmdir()

    def problems(self) -> list[str]:
        """The files whose content is not the one that their name begins with the digest of, in words."""
        return [
            f"{file}: damaged: not the file that was published; publish again: fedstill-server publish"
            for file in sorted(self.folder.rglob("*"))
            if file.is_file() and hashlib.sha256(file.read_bytes()).hexdigest() != file.name.split(".")[0]
        ]

    def _write(self, path: str, content: bytes) -> TargetFile:
        entry = TargetFile.from_data(path, content, ["sha256"])
        file = self._file(entry)
        file.parent.mkdir(parents=True, exist_ok=True)
        replace_file(file, content, mode=SHARED)
        return entry

    def _file(self, entry: TargetFile) -> Path:
        path = PurePosixPath(entry.path)
        return self.folder / path.parent / f"{entry.hashes['sha256']}.{path.name}"


def without_orphans(entries: Mapping[str, TargetFile]) -> dict[str, TargetFile]:
    """The entries without the parts that no manifest names any more."""
    named = {part for entry in entries.values() if entry.custom for part in entry.custom["parts"]}
    return {path: entry for path, entry in entries.items() if entry.custom or path in named}
