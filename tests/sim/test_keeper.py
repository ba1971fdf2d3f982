"""What calls leave for later ones."""

from pathlib import Path

import numpy as np
import pytest
from fedstill_sim.workers.keeper import FileKeeper, KeptLost
from fedstill_sim.workers.pool import start_workers
from fedstill_sim.workers.remote import keeper_of


def test_what_one_worker_keeps_another_loads(tmp_path: Path) -> None:
    with start_workers(1) as one, start_workers(1) as another:
        keeper = keeper_of(one, tmp_path / "kept")
        kept = one.submit(keeper.keep, "round-1_shard-0", {"labels": np.arange(6).reshape(2, 3)}).result()
        loaded = another.submit(keeper.load, kept).result()
    assert loaded["labels"].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_the_same_name_replaces_what_was_kept(tmp_path: Path) -> None:
    keeper = FileKeeper(tmp_path)
    keeper.keep("one", {"a": np.zeros(3), "b": np.ones(1)})
    loaded = keeper.load(keeper.keep("one", {"a": np.ones(2)}))
    assert {name: array.tolist() for name, array in loaded.items()} == {"a": [1.0, 1.0]}


def test_what_is_forgotten_is_lost(tmp_path: Path) -> None:
    keeper = FileKeeper(tmp_path)
    kept = keeper.keep("one", {"a": np.zeros(3)})
    keeper.forget([kept])
    keeper.forget([kept])
    with pytest.raises(KeptLost, match="done again"):
        keeper.load(kept)
    assert not list(tmp_path.iterdir())


def test_a_name_leads_nowhere_else(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no name to keep arrays by"):
        FileKeeper(tmp_path).keep("../one", {"a": np.zeros(3)})
