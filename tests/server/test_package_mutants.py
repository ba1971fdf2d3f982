"""The benchmark of damaged packages, on a few of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnxruntime
import pytest

from benchmarks import package_mutants as bench


@pytest.fixture(scope="module")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> bench.Downloads:
    return bench.Downloads(tmp_path_factory.mktemp("mutants"))


@pytest.fixture(autouse=True)
def counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "InferenceSession", bench.CountedSession)


def judged(place: str, use: Callable[[bench.Files], None], at: bench.Downloads | bench.Installed) -> None:
    verdict = bench.judge(place, use, at.files, at.old, count=40)
    assert verdict.refused == dict.fromkeys(bench.KINDS, 10)
    assert (verdict.accepted, verdict.failed, verdict.sessions) == ([], [], 0)


def test_every_damaged_download_is_refused(downloads: bench.Downloads) -> None:
    roles = {bench.role_of(path) for path in downloads.files}
    assert {"timestamp.json", "snapshot.json", "targets.json", "root.json", "inference.onnx"} <= roles
    judged("repository", downloads.use, downloads)


def test_every_damaged_installation_is_refused(downloads: bench.Downloads, tmp_path: Path) -> None:
    installed = bench.Installed(tmp_path, downloads)
    judged("installed", installed.use, installed)


def test_a_package_that_is_taken_counts_against_the_verdict(downloads: bench.Downloads) -> None:
    verdict = bench.judge(
        "none", lambda _: downloads.use(downloads.files), downloads.files, downloads.old, count=4
    )
    assert len(verdict.accepted) == 4
    assert verdict.sessions > 0
