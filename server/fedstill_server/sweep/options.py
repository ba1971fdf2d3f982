"""What is asked of a sweep."""

from __future__ import annotations

from dataclasses import dataclass

from fedstill_server.config.options import check_options, option

_PANEL = "The sweep"


@dataclass(frozen=True, kw_only=True)
class SweepOptions:
    """Which students a sweep has, how often each is distilled, and how long each is measured."""

    family: str = option(
        "mlp",
        "mlp, cnn, gru, ssm, transformer, hf:PLACE, a name with {width} and {depth} in it, or whole names "
        "with commas between.",
        panel=_PANEL,
    )
    widths: tuple[int, ...] = option((), "Widths, such as 4,8,16,32.", least=1, most=9999, panel=_PANEL)
    depths: tuple[int, ...] = option((), "Depths, such as 1,2,3.", least=1, most=256, panel=_PANEL)
    seeds: int = option(
        3, "Students of each size, by which intervals are made.", least=1, most=100, panel=_PANEL
    )
    seconds: float = option(
        1.0, "How long the latency of each size is measured.", least=0.01, most=600, panel=_PANEL
    )
    within: float = option(
        0.01,
        "The smallest size is named that is so near to the best: of accuracy, or of nats for text.",
        least=0,
        most=1,
        panel=_PANEL,
    )

    def __post_init__(self) -> None:
        check_options(self, texts=True)
