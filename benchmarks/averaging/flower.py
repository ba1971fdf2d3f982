"""Flower's own simulation: FedAvg as it ships, an ordinary torch ClientApp, Ray with two CPUs."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

import fedstill_proto.flower_records  # noqa: F401  (before flwr)
import torch
from fedstill_sim.runner.flower_engine import ray_backend
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation
from torch import Tensor, nn
from torch.nn import functional as F

from averaging.clock import Clock
from averaging.workload import BATCH_SIZE, LEARNING_RATE, Workload

CPUS = 2


def run(work: Workload, clock: Clock) -> None:
    """Run the warm-up and the workload's rounds."""
    with ray_backend(CPUS) as backend:
        run_simulation(
            server_app=_server_app(work, clock),
            client_app=_client_app(work),
            num_supernodes=work.users,
            backend_config=backend,
        )


def _server_app(work: Workload, clock: Clock) -> ServerApp:
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        strategy = TimedFedAvg(clock, fraction_evaluate=0.0, min_available_nodes=work.users)
        start = ArrayRecord({name: torch.from_numpy(array) for name, array in work.student().items()})
        strategy.start(grid=grid, initial_arrays=start, num_rounds=work.rounds + 1, timeout=3600)
        clock.start()

    return app


class TimedFedAvg(FedAvg):
    """FedAvg whose rounds are timed."""

    def __init__(self, clock: Clock, **options: Any) -> None:
        super().__init__(**options)
        self._clock = clock

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Start the clock, and make the messages of a round."""
        self._clock.start()
        return super().configure_train(server_round, arrays, config, grid)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Average the students; the round ends with that."""
        answers = list(replies)
        failed = [answer.error.reason for answer in answers if answer.has_error()]
        if failed or len(answers) != self.min_available_nodes:
            raise RuntimeError(
                f"Flower: {len(answers)} of {self.min_available_nodes} clients answered, "
                f"{len(failed)} of them with an error: {failed[:1]}"
            )
        arrays, metrics = super().aggregate_train(server_round, answers)
        assert arrays is not None
        self._clock.stop({name: value.numpy() for name, value in arrays.to_torch_state_dict().items()})
        return arrays, metrics


def _client_app(work: Workload) -> ClientApp:
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        torch.set_num_threads(1)
        x, y = _examples(work, int(context.node_config["partition-id"]))
        model = _model(work)
        arrays = message.content["arrays"]
        assert isinstance(arrays, ArrayRecord)
        model.load_state_dict(arrays.to_torch_state_dict())
        optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)
        for batch, labels in zip(torch.split(x, BATCH_SIZE), torch.split(y, BATCH_SIZE), strict=True):
            optimizer.zero_grad()
            F.cross_entropy(model(batch), labels).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        content = RecordDict(
            {
                "arrays": ArrayRecord(model.state_dict()),
                "metrics": MetricRecord({"num-examples": len(x)}),
            }
        )
        return Message(content=content, reply_to=message)

    return app


@functools.cache
def _data(work: Workload) -> Any:
    return work.data()


def _examples(work: Workload, user: int) -> tuple[Tensor, Tensor]:
    data = _data(work)
    rows = data.train[user]
    return torch.from_numpy(data.x[rows]), torch.from_numpy(data.y[rows])


def _model(work: Workload) -> nn.Module:
    from fedstill_server.families import build_student

    return build_student(work.family, (8, 8), 10)
