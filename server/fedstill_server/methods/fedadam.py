"""FedAdam (Reddi et al. 2020, arXiv 2003.00295): FedAvg, whose mean move is a gradient to the server's Adam.

With d the mean of how far devices' students moved, of one parameter in round t,

    m <- b1 m + (1 - b1) d,    v <- b2 v + (1 - b2) d^2
    x <- x + rate_t m' / (sqrt(v') + e),    m' = m / (1 - b1^t),  v' = v / (1 - b2^t)

where rate_t falls evenly to last_rate times server_rate in the last round, and e is a thousandth of the root
mean square of d in the parameter's array, as m and v see it: the paper's e is a number, which no two networks
share. FedAvg moves what few devices have hardly at all; Adam moves it as far as all else, which is what words
need, of which most are rare. Devices are to take plain gradient steps: Adam's own would make all of d alike.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from fedstill_proto.arrays import FloatArray, is_running_statistic, with_variances
from fedstill_proto.messages import Optimizer

from fedstill_server.config.codec import ConfigError
from fedstill_server.config.fleet import FleetConfig
from fedstill_server.config.options import option
from fedstill_server.methods.fedavg import FedAvg
from fedstill_server.methods.interface import MethodDefaults
from fedstill_server.state import FleetState

_FIRST, _SECOND = "adam/first/", "adam/second/"  # moments: <family>/<parameter>
_BETA_1, _BETA_2, _LEAST = 0.9, 0.99, 1e-3


class FedAdam(FedAvg):
    line = "fedavg, whose mean move is a gradient to the server's Adam (Reddi et al. 2020, arXiv 2003.00295)"

    defaults = MethodDefaults(plain_steps=True)
    server_rate: float = option(0.003, "How far a parameter moves in the first round.", above=0, most=10)
    last_rate: float = option(0.2, "Share of that which is left in the last round.", least=0, most=1)

    def check(self, config: FleetConfig) -> None:
        super().check(config)
        if config.training.optimizer is Optimizer.ADAMW:
            raise ConfigError("training.optimizer: 'adamw' is not sgd or momentum, whose moves are gradients")

    def learn(self, state: FleetState, consensus: Any, *, round_number: int) -> FleetState:
        students, arrays = dict(state.students), dict(state.arrays)
        for family, moves in consensus.result().items():
            moved = {}
            for name, move in moves.items():
                if is_running_statistic(name):  # no gradient moves it
                    moved[name] = students[family][name] + np.float32(consensus.freshness) * move
                    continue
                at = f"{family}/{name}"
                first = _towards(arrays.get(_FIRST + at), move, _BETA_1)
                second = _towards(arrays.get(_SECOND + at), move * move, _BETA_2)
                arrays |= {_FIRST + at: first, _SECOND + at: second}
                rate = np.float32(consensus.freshness * self.rate(round_number))
                moved[name] = students[family][name] + rate * _step(first, second, round_number)
            students[family] = with_variances(moved)
        return state.replace(students=students, arrays=arrays)

    def rate(self, round_number: int) -> float:
        """The server's learning rate in a round."""
        done = self.config.progress(round_number)
        return self.server_rate * (1 - (1 - self.last_rate) * done)


def _towards(moment: FloatArray | None, value: FloatArray, keep: float) -> FloatArray:
    before = np.zeros_like(value) if moment is None else moment
    moved: FloatArray = np.float32(keep) * before + np.float32(1 - keep) * value
    return moved


def _step(first: FloatArray, second: FloatArray, rounds: int) -> FloatArray:
    mean, square = first / (1 - _BETA_1**rounds), second / (1 - _BETA_2**rounds)
    least = _LEAST * np.sqrt(square.mean()) + np.float32(1e-12)
    step: FloatArray = (mean / (np.sqrt(square) + least)).astype(np.float32)
    return step
