"""All checks of a device, in the order in which one needs the other."""

from __future__ import annotations

from collections.abc import Iterator

from fedstill_client.doctor import device
from fedstill_client.doctor.finding import CheckVerdict, Finding
from fedstill_client.doctor.network import server_findings
from fedstill_client.home import AgentHome


def examine(home: AgentHome) -> Iterator[Finding]:
    """Look why a device takes part in no round; each finding is given as it is made.

    It takes a few seconds: the server is asked, and the processor's load is looked at for one.
    """
    yield (first := device.home_finding(home))
    if first.verdict is CheckVerdict.BAD:
        yield from device.all_skipped("there is no home to look into")
        return
    finding, membership = device.enrolment_finding(home)
    yield finding
    if membership is None:
        yield from device.all_skipped("the device is in no fleet")
    else:
        is_reached = True
        for finding in server_findings(home, membership):
            is_reached &= finding.check not in ("reachability", "certificate") or finding.verdict in (
                CheckVerdict.GOOD,
                CheckVerdict.NOTE,
            )
            yield finding
        yield from device.package_findings(home, membership, is_reached=is_reached)
        yield device.policy_finding(home)
        yield from device.budget_findings(home)
    yield from device.eligibility_findings(home)
    yield device.disk_finding(home)
    yield device.agent_finding(home)
    if membership is not None:
        yield from device.rounds_findings(home)
