"""Candidates, promotion and withdrawal in a fleet's repository, as tuf's own client sees them."""

from __future__ import annotations

from pathlib import Path

import pytest
from fedstill_client.packages.fetchers import FolderFetcher
from fedstill_proto.package.release_plan import RELEASE_PLAN_TARGET, Candidate, ReleasePlan
from fedstill_server.publish.errors import PublishError
from fedstill_server.publish.repository import Repository
from tuf.ngclient import Updater, UpdaterConfig

from tests.server.test_publish_repository import package


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """A fleet whose devices use package 1."""
    repository = Repository.create(tmp_path / "fleet")
    repository.publish([package(1)])
    return repository


def candidate(version: int, share: float = 0.1) -> Candidate:
    return Candidate(package_version=version, share=share, salt=f"r{version}")


def seen(repository: Repository, tmp_path: Path) -> dict[str, int]:
    """The version of each manifest that a device's verified metadata leads to, by place; and of the plan."""
    trust = tmp_path / "trust"
    trust.mkdir(exist_ok=True)
    folder = repository.folder
    updater = Updater(
        str(trust),
        f"{folder}/metadata/",
        target_base_url=f"{folder}/targets/",
        fetcher=FolderFetcher(folder),
        config=UpdaterConfig(max_delegations=0),
        bootstrap=(folder / "metadata" / "1.root.json").read_bytes(),
    )
    updater.refresh()
    found = {}
    for place in ("students", "candidates", "previous"):
        target = updater.get_targetinfo(f"{place}/mlp-small.json")
        if target is not None:
            updater.download_target(target, str(tmp_path / "file"))
            found[place] = target.custom["package_version"]
    plan = updater.get_targetinfo(RELEASE_PLAN_TARGET)
    if plan is not None:
        content = Path(updater.download_target(plan, str(tmp_path / "file"))).read_bytes()
        assert ReleasePlan.from_bytes(content) == repository.plan()
        found["plan"] = ReleasePlan.from_bytes(content).version
    return found


def test_a_candidate_stands_beside_the_stable_package_until_it_is_promoted(
    repository: Repository, tmp_path: Path
) -> None:
    assert seen(repository, tmp_path) == {"students": 1}
    repository.offer([package(2)], candidate(2, 0.01))
    assert seen(repository, tmp_path) == {"students": 1, "candidates": 2, "plan": 1}
    assert repository.next_version() == 3
    repository.change_plan(candidate=candidate(2, 0.1))
    assert seen(repository, tmp_path) == {"students": 1, "candidates": 2, "plan": 2}
    plan = repository.promote()
    assert plan.candidate is None
    assert seen(repository, tmp_path) == {"students": 2, "previous": 1, "plan": 3}


def test_a_withdrawn_candidate_is_offered_to_nobody_and_its_number_is_used_up(
    repository: Repository, tmp_path: Path
) -> None:
    repository.offer([package(2)], candidate(2))
    plan = repository.withdraw([2])
    assert (plan.withdrawn, plan.candidate) == ((2,), None)
    assert seen(repository, tmp_path) == {"students": 1, "plan": 2}
    assert repository.next_version() == 3
    repository.offer([package(3)], candidate(3))
    assert seen(repository, tmp_path) == {"students": 1, "candidates": 3, "plan": 3}


def test_a_withdrawn_stable_package_gives_way_to_the_one_before(
    repository: Repository, tmp_path: Path
) -> None:
    repository.publish([package(2)])
    plan = repository.withdraw([2], rounds_off=True)
    assert plan.rounds_off
    assert seen(repository, tmp_path) == {"students": 1, "plan": 1}
    with pytest.raises(PublishError, match="no package is left that is not withdrawn"):
        repository.withdraw([1])
    assert seen(repository, tmp_path) == {"students": 1, "plan": 1}


def test_one_release_is_on_its_way_at_a_time(repository: Repository) -> None:
    with pytest.raises(PublishError, match="no release is on its way"):
        repository.promote()
    repository.offer([package(2)], candidate(2))
    with pytest.raises(PublishError, match="another release is on its way"):
        repository.offer([package(3)], candidate(3))
    with pytest.raises(PublishError, match="is not above 1"):
        repository.publish([package(1)])
