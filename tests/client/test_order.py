"""The orders that devices draw."""

from __future__ import annotations

import numpy as np
import pytest
from fedstill_client.model import order
from fedstill_client.model.order import device_ids, epoch_order
from fedstill_proto.errors import FedstillError
from hypothesis import given
from hypothesis import strategies as st

NAMES = ["attic", "cellar", "kitchen"]


def test_the_mixer_is_splitmix64() -> None:
    # The published first outputs for seed 1234567; each output follows the state raised by the golden ratio.
    golden = np.uint64(0x9E3779B97F4A7C15)
    states = np.array([1234567], np.uint64) + np.arange(3, dtype=np.uint64) * golden

    outputs = order._mix(states)

    assert outputs.tolist() == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_an_id_is_the_start_of_the_sha256_of_the_name() -> None:
    # sha256("abc") = ba7816bf 8f01cfea ...
    assert device_ids(["abc"]).tolist() == [0xBA7816BF8F01CFEA]


@given(counts=st.lists(st.integers(0, 40), min_size=3, max_size=3), epoch=st.integers(0, 5))
def test_an_order_walks_each_own_row_once_and_the_padding_last(counts: list[int], epoch: int) -> None:
    orders = epoch_order(3, device_ids(NAMES), round=2, epoch=epoch, counts=np.array(counts), capacity=40)

    for drawn, count in zip(orders, counts, strict=True):
        assert sorted(drawn[:count]) == list(range(count))
        assert list(drawn[count:]) == list(range(count, 40))


def test_an_order_does_not_depend_on_the_stack_or_its_room() -> None:
    counts = np.array([9, 30, 17])
    together = epoch_order(3, device_ids(NAMES), round=2, epoch=1, counts=counts, capacity=64)

    alone = epoch_order(3, device_ids(NAMES[2:]), round=2, epoch=1, counts=counts[2:], capacity=17)

    assert together[2, :17].tolist() == alone[0].tolist()


def test_seed_device_round_and_epoch_each_change_the_order() -> None:
    def drawn(seed: int = 3, name: str = "attic", round: int = 1, epoch: int = 0) -> tuple[int, ...]:
        ids = device_ids([name])
        return tuple(epoch_order(seed, ids, round=round, epoch=epoch, counts=np.array([30]), capacity=30)[0])

    orders = {drawn(), drawn(seed=4), drawn(name="cellar"), drawn(round=2), drawn(epoch=1)}

    assert len(orders) == 5


def test_every_row_comes_first_about_equally_often() -> None:
    ids = device_ids([f"device {number}" for number in range(4000)])

    orders = epoch_order(0, ids, round=1, epoch=0, counts=np.full(4000, 8), capacity=8)

    firsts = np.bincount(orders[:, 0], minlength=8)  # 500 each expected, with a deviation of 21
    assert firsts.min() > 400
    assert firsts.max() < 600


def test_stored_order_is_as_stored() -> None:
    orders = epoch_order(
        0, device_ids(NAMES), round=1, epoch=0, counts=np.full(3, 5), capacity=5, shuffle=False
    )

    assert orders.tolist() == [[0, 1, 2, 3, 4]] * 3


def test_more_rows_than_the_keys_have_room_for_are_refused() -> None:
    with pytest.raises(FedstillError, match="16777217 examples"):
        epoch_order(0, device_ids(["a"]), round=1, epoch=0, counts=np.array([1]), capacity=(1 << 24) + 1)
