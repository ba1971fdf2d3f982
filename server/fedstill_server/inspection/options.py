"""What is asked of an inspection beside the package: how long it measures, and prices."""

from __future__ import annotations

from dataclasses import dataclass

from fedstill_server.config.options import check_options, option

FLOAT32, INT8, DYNAMIC, STATIC = "float32", "int8", "dynamic", "static"
FORMS = (FLOAT32, INT8, DYNAMIC, STATIC)
_PANEL = "Measuring a package"


@dataclass(frozen=True, kw_only=True)
class InspectOptions:
    """How a package is measured."""

    seconds: float = option(
        20.0,
        "How long speed and energy are measured, about; 0 measures none.",
        least=0,
        most=3600,
        panel=_PANEL,
    )
    forms: tuple[str, ...] = option(
        (FLOAT32, INT8),
        "Forms of the graph to compare: the package's two, and what ONNX Runtime's quantizers make of it.",
        choices=FORMS,
        panel=_PANEL,
    )
    threads: int = option(1, "Threads of an answer.", least=1, most=256, panel=_PANEL)
    load: int = option(
        -1,
        "Processes that keep the cores busy while latency under load is measured; -1 is one for each core, "
        "0 measures without.",
        least=-1,
        most=1024,
        panel=_PANEL,
    )
    watts: float = option(
        5.0,
        "Power of the processor under load, in watts, where no energy counter can be read.",
        above=0,
        panel=_PANEL,
    )
    price_kwh: float = option(0.30, "Price of a kilowatt-hour, in whatever currency.", least=0, panel=_PANEL)
    price_hour: float = option(
        0.05, "Price of an hour of the machine, in the same currency.", least=0, panel=_PANEL
    )
    rows: int = option(
        0,
        "Test examples to judge by, spread over all; 0 is all, and of text as many as take seconds.",
        least=0,
        panel=_PANEL,
    )

    def __post_init__(self) -> None:
        check_options(self, texts=True)
