"""The report on the package in use, which the fleet's server asks for (fedstill_proto.system.release_report).

Counts of right answers are in it only where the policy of the device's owner lets counts out; they are then
in the privacy ledger first, and spend what the policy gives evaluations. The same counts again cost nothing.
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import asdict

from fedstill_proto.system.release_report import ReleaseReport

from fedstill_client.home import AgentHome
from fedstill_client.packages.install import installed_manifest
from fedstill_client.privacy.guard import PolicyGuard, PolicyRefused, TaskSize
from fedstill_client.privacy.policy import DevicePolicy
from fedstill_client.privacy.refusals import last_refusals
from fedstill_client.privacy.statement import read_statement
from fedstill_client.releases.record import Counts, ReleaseRecord, read_record
from fedstill_client.releases.watch import Latency, latencies
from fedstill_client.store import PrivateStore, Release


def release_report(home: AgentHome, store: PrivateStore, *, run: str) -> ReleaseReport:
    """What came of the package in use.

    Args:
        home: The agent's home.
        store: Its private store.
        run: The fleet's, for the ledger.
    """
    manifest, _ = installed_manifest(home, store)
    record, times = read_record(store), latencies(home)
    now, before = (times.get(one, Latency()) for one in (record.package_version, record.before_version))
    told = _told(home, store, record, classes=manifest.classes, run=run)
    refused = [one for one in last_refusals(store.ledger) if one.at >= record.since]
    return ReleaseReport(
        package_version=record.package_version,
        generation=manifest.generation,
        installed_s=max(time.time() - record.since, 0.0),
        **told,
        crashes=record.crashes,
        refusals=len(refused),
        failures=record.failures,
        latency_ms=now.median_ms,
        latency_p95_ms=now.p95_ms,
        latency_p95_before_ms=before.p95_ms,
    )


def _told(
    home: AgentHome, store: PrivateStore, record: ReleaseRecord, *, classes: int, run: str
) -> dict[str, int]:
    """The counts that leave the device; none where they may not."""
    counts = record.counts
    if counts is None:
        return {}
    release = _release(counts, run, record.package_version)
    if not any(one.digest == release.digest and one.run == run for one in store.ledger.releases()):
        size = TaskSize(classes=classes, release=record.package_version)
        policy = DevicePolicy.read(home.folder)
        guard = PolicyGuard(policy, store.ledger, size=size, statement=read_statement(home.folder))
        try:
            guard.admit_counts()
        except PolicyRefused:
            return {}
        store.ledger.debit(release)
    fields = asdict(counts)
    return {"held_out": fields.pop("examples"), **fields}


def _release(counts: Counts, run: str, version: int) -> Release:
    """As the ledger has it: counts of right answers, of a package in place of a round."""
    content = json.dumps([version, asdict(counts)], sort_keys=True).encode()
    digest = hashlib.sha256(content).hexdigest()
    values = len(asdict(counts))
    return Release(run, version, "evaluation", values=values, bytes=8 * values, digest=digest)
