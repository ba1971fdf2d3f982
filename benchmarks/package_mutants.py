"""3,200 mutants of a student package: is each refused, and does none of their bytes reach ONNX Runtime?

Half are dealt to the repository that a device downloads from, half to the folder that it has installed. Each
mutant damages files in one of four ways: bits flipped, the end cut off, files in each other's place, or
files of an older version replayed. The device then does all that it does with a good package: fetch, install,
load, answer. The verdict holds only if every mutant ends in a PackageError and no session of ONNX Runtime
was opened; a package without damage goes first and must answer.

    python benchmarks/package_mutants.py --count 3200 --json
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
import onnxruntime as ort
from fedstill_client.home import AgentHome
from fedstill_client.model.predictor import Predictor
from fedstill_client.packages import InstalledPackage, PackageError, install, load_installed
from fedstill_client.packages.installed import KeptStudent
from fedstill_client.packages.source import PackageSource
from fedstill_proto.messages import Optimizer, TrainingPlan
from fedstill_proto.package.artifact import MANIFEST_FILE, StudentPackage
from fedstill_proto.package.manifest import StudentManifest
from fedstill_server.config.choice import Choice
from fedstill_server.config.fleet import FleetConfig
from fedstill_server.families import initial_parameters
from fedstill_server.publish.package import build_package
from fedstill_server.publish.repository import Repository
from tuf.api.exceptions import DownloadHTTPError
from tuf.ngclient import FetcherInterface

FAMILY, SHAPE, CLASSES = "mlp-small", (8,), 4
KINDS = ("bit flips", "truncation", "swapped files", "replayed old version")
Files = dict[str, bytes]


class CountedSession(ort.InferenceSession):  # type: ignore[misc]
    """ONNX Runtime's session, counted."""

    opened = 0

    def __init__(self, *arguments: object, **options: object) -> None:
        type(self).opened += 1
        super().__init__(*arguments, **options)


@dataclass
class Record:
    """The private store's memory of installations."""

    all: list[InstalledPackage] = field(default_factory=list)

    def forget_kept_answers(self) -> None:
        return

    def record_installation(
        self, installed: InstalledPackage, *, keeping: KeptStudent | None = None, owners: int = 0
    ) -> None:
        self.all.append(installed)

    def installed(self) -> InstalledPackage | None:
        return self.all[-1] if self.all else None

    def owners(self) -> InstalledPackage | None:
        return None

    def installations(self) -> list[InstalledPackage]:
        return self.all


class FilesFetcher(FetcherInterface):
    """A repository in memory, as an attacker between it and the device would show it."""

    def __init__(self, files: Files) -> None:
        self._files = files

    def _fetch(self, url: str) -> Iterator[bytes]:
        path = url.removeprefix("memory://fleet/")
        if path not in self._files:
            raise DownloadHTTPError(f"{path}: not found", 404)
        return iter([self._files[path]])


def config() -> FleetConfig:
    return FleetConfig(
        run="0123abcd",
        method=Choice(name="public-logits"),
        rounds=1,
        seed=0,
        families=(FAMILY,),
        classes=CLASSES,
        input_shape=SHAPE,
        public_set="public.npz",
        training=TrainingPlan(1, 4, 0.125, Optimizer.SGD, 2.0, 0.5, 0),
    )


def releases(repository: Repository) -> tuple[Files, Files, Files]:
    """Make what the repository shows at versions 1, 2 and 3; before 3, root and timestamp get new keys."""
    shown = []
    public_x = np.random.default_rng(0).normal(size=(16, *SHAPE)).astype(np.float32)
    for version in (1, 2, 3):
        weights = initial_parameters(FAMILY, SHAPE, CLASSES, version)
        package = build_package(
            config(), FAMILY, weights, package_version=version, public_x=public_x + version
        )
        if version == 3:
            repository.rotate("root")
            repository.rotate("timestamp")
        repository.publish([package])
        files = {
            str(path.relative_to(repository.folder)): path.read_bytes()
            for path in repository.folder.rglob("*")
            if path.is_file()
        }
        shown.append(files)
    one, two, three = shown
    return one, two, three


def role_of(path: str) -> str:
    """Return a file's place without its version or digest: the same in every release."""
    name = PurePosixPath(path).name
    first, _, rest = name.partition(".")
    return rest if rest and (first.isdecimal() or len(first) == 64) else name


class Downloads:
    """A device that has seen release 2, and finds release 3 (damaged) in the repository."""

    def __init__(self, folder: Path) -> None:
        repository = Repository.create(folder / "fleet")
        self._trust, self._scratch = folder / "trust", folder / "device"
        PackageSource.trust_root(self._trust, repository.trusted_root())
        self.old, seen, shown = releases(repository)
        PackageSource("memory://fleet", self._trust, FilesFetcher(seen)).fetch(FAMILY)
        self.files = self._those_read(shown)

    def use(self, files: Files) -> None:
        """Fetch, install, load and answer.

        Raises:
            PackageError: The release is refused.
        """
        shutil.rmtree(self._scratch, ignore_errors=True)
        shutil.copytree(self._trust, self._scratch / "trust", symlinks=True)
        package = PackageSource("memory://fleet", self._scratch / "trust", FilesFetcher(files)).fetch(FAMILY)
        home, record = AgentHome(self._scratch), Record()
        install(home, record, package)
        Predictor(load_installed(home, record)).predict(np.zeros((1, *SHAPE), np.float32))

    def _those_read(self, shown: Files) -> Files:
        """Return the files of release 3 that a device reads: damage to others is none."""
        read: Files = {}
        asked: list[str] = []

        class Watching(FilesFetcher):
            def _fetch(self, url: str) -> Iterator[bytes]:
                asked.append(url.removeprefix("memory://fleet/"))
                return super()._fetch(url)

        shutil.copytree(self._trust, self._scratch / "trust", symlinks=True)
        PackageSource("memory://fleet", self._scratch / "trust", Watching(shown)).fetch(FAMILY)
        for path in asked:
            if path in shown:
                read[path] = shown[path]
        return read


class Installed:
    """A device with packages 1 and 3 installed, whose folder of 3 is damaged."""

    def __init__(self, folder: Path, downloads: Downloads) -> None:
        self._home, self._record = AgentHome(folder / "home"), Record()
        folders = []
        for files in (downloads.old, downloads.files):
            listed = next(data for path, data in files.items() if path.startswith("targets/students/"))
            names = [part["name"] for part in json.loads(listed)["parts"]]
            folders.append({name: _newest(files, name) for name in names} | {MANIFEST_FILE: listed})
        self.old, self.files = folders
        for contents in folders:
            manifest = StudentManifest.from_json(contents[MANIFEST_FILE])
            parts = {name: data for name, data in contents.items() if name != MANIFEST_FILE}
            install(self._home, self._record, StudentPackage.of_contents(manifest, parts))

    def use(self, files: Files) -> None:
        """Load and answer.

        Raises:
            PackageError: The package is refused.
        """
        installed = self._record.installed()
        assert installed is not None
        for name, content in files.items():
            (installed.folder / name).write_bytes(content)
        Predictor(load_installed(self._home, self._record)).predict(np.zeros((1, *SHAPE), np.float32))


def _newest(files: Files, name: str) -> bytes:
    return next(data for path, data in files.items() if role_of(path) == name)


def mutant(kind: str, files: Files, old: Files, random: np.random.Generator) -> Files:
    """Copy `files` with damage of one kind: never the same bytes, nor the same meaning."""
    paths = sorted(files)
    changed = dict(files)
    path = paths[random.integers(len(paths))]
    if kind == "bit flips":
        changed[path] = _flipped(files[path], random)
    elif kind == "truncation":
        changed[path] = files[path][: random.integers(len(files[path]))]
    elif kind == "swapped files":
        other = paths[random.integers(len(paths))]
        changed[path], changed[other] = files[other], files[path]
    else:
        by_role = {role_of(each): data for each, data in old.items()}
        for each in random.permutation(paths)[: random.integers(1, len(paths) + 1)]:
            changed[each] = by_role.get(role_of(each), files[each])
    return changed if changed != files else mutant(kind, files, old, random)


def _flipped(content: bytes, random: np.random.Generator) -> bytes:
    """Flip 1 to 8 bits, but not only the case of letters: a signature's hexadecimal digits have none."""
    flipped = bytearray(content)
    for position in random.integers(len(content), size=random.integers(1, 9)):
        flipped[position] ^= 1 << int(random.integers(8))
    if bytes(flipped).lower() == content.lower():
        return _flipped(content, random)
    return bytes(flipped)


@dataclass
class Verdict:
    """What became of the mutants of one place."""

    place: str
    refused: Counter[str] = field(default_factory=Counter)  # by kind
    checks: Counter[str] = field(default_factory=Counter)  # which check refused
    accepted: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)  # with an error that is not a PackageError
    sessions: int = 0


def judge(place: str, use: Callable[[Files], None], files: Files, old: Files, *, count: int) -> Verdict:
    """Deal `count` mutants, each kind in turn."""
    before = CountedSession.opened
    use(files)
    if CountedSession.opened == before:
        raise SystemExit(f"{place}: the package without damage opened no session: nothing is measured")
    verdict, before = Verdict(place), CountedSession.opened
    for number in range(count):
        kind = KINDS[number % len(KINDS)]
        damaged = mutant(kind, files, old, np.random.default_rng([number, len(files)]))
        try:
            use(damaged)
        except PackageError as error:
            verdict.refused[kind] += 1
            verdict.checks[error.check] += 1
        except Exception as error:
            verdict.failed.append(f"mutant {number} ({kind}): {type(error).__name__}: {error}"[:300])
        else:
            verdict.accepted.append(f"mutant {number} ({kind})")
    verdict.sessions = CountedSession.opened - before
    return verdict


def report(verdicts: list[Verdict], seconds: float) -> None:
    print(f"{'place':12s} {'kind':22s} {'refused':>8s}")
    for verdict in verdicts:
        for kind in KINDS:
            print(f"{verdict.place:12s} {kind:22s} {verdict.refused[kind]:8,d}")
        reasons = ", ".join(f"{check} {count:,d}" for check, count in verdict.checks.most_common())
        print(f"{verdict.place:12s} by check: {reasons}")
        for problem in [*verdict.accepted, *verdict.failed][:10]:
            print(f"{verdict.place:12s} NOT REFUSED: {problem}")
    print(f"sessions of ONNX Runtime opened by mutants: {sum(verdict.sessions for verdict in verdicts)}")
    print(f"{seconds:.0f} s")


def main() -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--count", type=int, default=3200, help="mutants in all (default 3200)")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    arguments = parser.parse_args()
    ort.InferenceSession = CountedSession
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        downloads = Downloads(Path(folder))
        installed = Installed(Path(folder), downloads)
        half = arguments.count // 2
        verdicts = [
            judge("repository", downloads.use, downloads.files, downloads.old, count=arguments.count - half),
            judge("installed", installed.use, installed.files, installed.old, count=half),
        ]
    seconds = time.perf_counter() - start
    passed = all(not v.accepted and not v.failed and not v.sessions for v in verdicts)
    if arguments.json:
        document = {
            "passed": passed,
            "mutants": arguments.count,
            "sessions_opened_by_mutants": sum(verdict.sessions for verdict in verdicts),
            "seconds": round(seconds, 1),
            "places": [vars(verdict) for verdict in verdicts],
        }
        print(json.dumps(document, indent=1))
    else:
        report(verdicts, seconds)
        print("PASSED" if passed else "FAILED")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
