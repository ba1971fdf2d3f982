import pytest
from fedstill_proto.errors import FedstillError
from fedstill_sim.compare.estimate import Estimate


def test_three_seeds_by_hand() -> None:
    # mean 2, s = 1, t(0.975, 2) = 4.3027: 4.3027 / sqrt(3) = 2.4841
    estimate = Estimate.of([1.0, 2.0, 3.0])

    assert estimate.mean == 2.0
    assert estimate.half_width == pytest.approx(2.4841, abs=1e-4)
    assert (estimate.low, estimate.high) == pytest.approx((-0.4841, 4.4841), abs=1e-4)


def test_equal_seeds_leave_no_doubt() -> None:
    assert Estimate.of([0.5, 0.5, 0.5]).half_width == 0.0


def test_one_seed_gives_no_interval() -> None:
    estimate = Estimate.of([0.7])

    assert estimate.half_width is None
    assert (estimate.low, estimate.mean, estimate.high) == (0.7, 0.7, 0.7)


def test_no_seed_is_refused() -> None:
    with pytest.raises(FedstillError, match="no values"):
        Estimate.of([])
