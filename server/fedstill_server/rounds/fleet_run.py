"""A run of the server over a Flower Grid."""

from __future__ import annotations

from flwr.serverapp import Grid

from fedstill_server.config.fleet import FleetConfig
from fedstill_server.data.examples import Examples
from fedstill_server.methods import build_method
from fedstill_server.rounds.message_work import MessageWork, NodesKnown
from fedstill_server.rounds.pacing import AtOnce, Pacing
from fedstill_server.rounds.roster import NodeRegister
from fedstill_server.rounds.run_loop import RunLoop
from fedstill_server.rounds.run_store import RunStore
from fedstill_server.rounds.summing import EnrolledList, no_list


class FleetRun(RunLoop):
    """The loop of a run whose fleet is behind a Grid."""

    def __init__(
        self,
        grid: Grid,
        config: FleetConfig,
        *,
        public: Examples,
        store: RunStore,
        test: Examples | None = None,
        registered: NodeRegister | None = None,
        enrolled: EnrolledList = no_list,
        pacing: Pacing | None = None,
    ) -> None:
        """Open a run.

        Args:
            grid: Reaches the devices.
            config: What the run does.
            public: The public set.
            store: Where rounds are committed.
            test: What the teacher is measured on; None does not measure it.
            registered: Tells the name of each registered node; a device that came up anew is asked anew for
                what it had not answered. None where nodes are not registered, as in a simulation.
            enrolled: Reads the signed list of devices, where the server is to see sums alone.
            pacing: Says when rounds begin, and guards what is written down for a generation of the fleet that
                may be over meanwhile; None is one round after the other.
        """
        central = config.privacy is not None and config.privacy.mode == "central"
        method, pacing = build_method(config, public), pacing or AtOnce(config.rounds, config.cohort)
        self.fleet = MessageWork(
            grid,
            config,
            method,
            known=NodesKnown(registered=registered, enrolled=enrolled),
            pacing=pacing,
            account=store.account(config.run) if central else None,
        )
        super().__init__(
            self.fleet,
            config,
            method,
            public=public,
            store=store,
            test=test,
            pacing=pacing,
            is_real=registered is not None,
        )
