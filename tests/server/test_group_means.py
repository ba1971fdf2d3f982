from __future__ import annotations

import numpy as np
import pytest
from fedstill_proto.errors import InvalidValue
from fedstill_server.consensus.group_means import GroupMean, median_of_groups
from fedstill_server.secure_sums.rule import SecureSumsRule


def group(*numbers: float, devices: int = 2) -> GroupMean:
    return GroupMean(np.array(numbers), 3.0, devices)


def test_one_liar_moves_one_group_and_not_the_median() -> None:
    honest = [group(1, 2), group(2, 2), group(3, 2)]
    assert median_of_groups(honest).vector.tolist() == [2, 2]
    lied = median_of_groups([*honest[:2], group(1e9, -1e9)])
    assert lied.vector.tolist() == [2, 2]
    assert lied.devices == 6
    assert lied.noise == pytest.approx((np.pi / 2) ** 0.5 * 3 / 3**0.5)


def test_the_median_of_one_group_is_its_mean() -> None:
    assert median_of_groups([group(7)]).noise == 3
    assert median_of_groups([group(7)]).vector.tolist() == [7]


def test_a_fold_between_groups_needs_groups() -> None:
    assert SecureSumsRule(group_size=10, fold="median").groups_of(34) == 3
    with pytest.raises(InvalidValue, match="one group"):
        SecureSumsRule(fold="median")
    with pytest.raises(InvalidValue, match="mean, median"):
        SecureSumsRule(group_size=10, fold="mode")
