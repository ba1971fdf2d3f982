"""A device's metrics: what Prometheus reads of its home and of its answers, and who may read it."""

from __future__ import annotations

import httpx
import pytest
from fedstill_client import AgentClient
from fedstill_client.agent_types import AgentError
from fedstill_client.fleet.metrics import DeviceMetrics
from fedstill_client.privacy.refusals import note_refusal
from fedstill_client.service.server import serve
from fedstill_client.store import PrivateStore, Release
from fedstill_proto.refusal import Refusal
from fedstill_proto.system.signals import EndSignals

from tests.client.agent_samples import enrolled_home
from tests.client.recording_agent import short_home
from tests.client.samples import examples


def test_prometheus_reads_rounds_refusals_bytes_package_and_answers() -> None:
    with short_home() as home:
        enrolled_home(home.folder, owner_share=0.0)
        with PrivateStore.open(home) as store:
            for number, kind in ((4, "public-set"), (4, "evaluation"), (5, "public-set")):
                store.ledger.debit(
                    Release("r1", number, kind, 10, 100 + number, kind[0].replace("p", "a") * 64)
                )
            for word in (Refusal.NOT_NOW, Refusal.NOT_NOW, Refusal.BUDGET):
                note_refusal(store.ledger, "busy", run="r1", round=6, refusal=word)
        metrics, read = DeviceMetrics(home), []

        def meanwhile(signals: EndSignals) -> None:
            with metrics.served(0) as address, AgentClient(home.folder) as client:
                for _ in range(3):
                    client.predict(examples(2)[0])
                with pytest.raises(AgentError):
                    client.predict_text("start rosie")
                read.append(httpx.get(address).text)
                port = address.split(":")[2].split("/")[0]
                assert httpx.get(address, headers={"Host": "evil.example"}).status_code == 403
                with pytest.raises(AgentError, match="metrics-port"), metrics.served(int(port)):
                    pass

        serve(home.folder, until=meanwhile, interceptors=(metrics.interceptor,))
    for line in (
        "fedstill_agent_rounds_total 2.0",
        "fedstill_agent_last_round 5.0",
        'fedstill_agent_released_bytes_total{kind="public-set"} 209.0',
        'fedstill_agent_released_bytes_total{kind="evaluation"} 104.0',
        'fedstill_agent_refusals{word="not-now"} 2.0',
        'fedstill_agent_refusals{word="budget"} 1.0',
        "fedstill_agent_package_version 1.0",
        "fedstill_agent_connected 0.0",
        'fedstill_agent_call_seconds_count{call="Predict",outcome="answered"} 3.0',
        'fedstill_agent_call_seconds_count{call="Predict",outcome="refused"} 1.0',
    ):
        assert line in read[0]
