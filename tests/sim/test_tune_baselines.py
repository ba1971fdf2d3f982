"""The grids of benchmarks/tune_baselines.py, and which of their settings wins."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from fedstill_server.config.choice import Choice
from fedstill_server.methods import method_of
from fedstill_sim.compare.estimate import Estimate

from benchmarks.regimes import Cell, Figures, run_of
from benchmarks.tune_baselines import GRIDS, best_of, settings_of

OPTIONS = argparse.Namespace(devices=4, rounds=2, families=None, no_public_labels=True)


def test_a_grid_is_all_its_settings_of_a_method_that_there_is() -> None:
    assert settings_of("fedavg-norm") == [
        f"fedavg+learning_rate={rate}+families=cnn-norm" for rate in (0.01, 0.02, 0.05, 0.1)
    ]
    assert len(settings_of("fedprox")) == 16
    for name in GRIDS:
        for setting in settings_of(name):
            request = run_of(OPTIONS, Cell.of("digits@0.1"), setting, 0)
            assert request.learning_rate in (0.01, 0.02, 0.05, 0.1)
            names = {key: float(value) for key, value in request.method_options.items() if "." in value}
            assert method_of(Choice(name=request.method, options=names))
    assert run_of(OPTIONS, Cell.of("digits@0.1"), settings_of("fedbn")[0], 0).families == ("cnn-norm",)


def test_the_best_is_best_over_all_cells() -> None:
    def cells(*means: float) -> Sequence[Figures]:
        one = Estimate.of([0.0])
        return [
            Figures(personal=one, everyone=one, mean=Estimate.of([mean]), bytes=one, devices=())
            for mean in means
        ]

    assert best_of({"a": cells(0.9, 0.5), "b": cells(0.8, 0.7), "c": cells(0.7, 0.7)}) == "b"
