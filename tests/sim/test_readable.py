import pytest
from fedstill_sim.results.readable import (
    counted,
    readable_bytes,
    readable_percent,
    readable_ratio,
    readable_seconds,
)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (842, "842 B"),
        (842.4, "842 B"),
        (999, "999 B"),
        (1_000, "1 kB"),
        (1_250, "1.25 kB"),
        (19_412, "19.4 kB"),
        (999_499, "999 kB"),
        (34_000_000, "34 MB"),
        (5e15, "5e+03 TB"),
        (None, "–"),
    ],
)
def test_bytes(count: float | None, text: str) -> None:
    assert readable_bytes(count) == text


@pytest.mark.parametrize(
    ("share", "text"), [(0.9345, "93.5 %"), (1.0, "100.0 %"), (0.0, "0.0 %"), (None, "–")]
)
def test_percent(share: float | None, text: str) -> None:
    assert readable_percent(share) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.42, "0.4 s"),
        (9.9, "9.9 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (125, "2 min 05 s"),
        (3700, "1 h 01 min"),
    ],
)
def test_seconds(seconds: float, text: str) -> None:
    assert readable_seconds(seconds) == text


@pytest.mark.parametrize(("ratio", "text"), [(1 / 23.1, "1/23.1"), (4.1, "4.1x"), (0.0, "–"), (None, "–")])
def test_ratio(ratio: float | None, text: str) -> None:
    assert readable_ratio(ratio) == text


def test_counted() -> None:
    assert [counted(1, "round"), counted(10_000, "device")] == ["1 round", "10,000 devices"]
