"""The device itself: its home, package, rules, budget, disk, agent, and its last rounds."""

from __future__ import annotations

import fcntl
import shutil
import time
from collections.abc import Iterator
from datetime import datetime

from fedstill_proto.errors import FedstillError
from fedstill_proto.privacy import epsilon_of_rho

from fedstill_client.device_description import DeviceDescription
from fedstill_client.doctor.finding import Finding, bad, good, note, skipped
from fedstill_client.eligibility.conditions import Conditions, LoadMeter
from fedstill_client.eligibility.rules import RULES_FILE, Rules
from fedstill_client.eligibility.verdict import readings
from fedstill_client.fleet.connection import Standing, read_connection
from fedstill_client.fleet.enrol import source_of
from fedstill_client.fleet.membership import Membership, authority_file, device_key
from fedstill_client.home import AgentHome
from fedstill_client.packages import PackageError, load_installed
from fedstill_client.packages.plan import read_plan
from fedstill_client.privacy.guard import spending_of
from fedstill_client.privacy.policy import DevicePolicy
from fedstill_client.privacy.refusals import last_refusals
from fedstill_client.privacy.statement import how_to_allow, newer_statement, read_statement
from fedstill_client.service.endpoint import check_private
from fedstill_client.store import PrivateStore

_LOAD_OVER_S = 1.0
_LEAST_FREE_MB = 50  # for a package, an answer and the store's own journal
_NEARLY = 0.9
_SHOWN_REFUSALS = 3
LAST_MOMENT = 253_000_000_000.0
"""The last one that a date is written of, in the year 9987: what a server says may be any number."""


def home_finding(home: AgentHome) -> Finding:
    """Whether the home is there, this user's own, and closed to others."""
    try:
        check_private(home)
    except FedstillError as error:
        return bad("home", str(error), "give the home of the agent with --home, or enrol the device")
    key = device_key(home)
    if key.exists() and key.stat().st_mode & 0o077:
        return bad("home", f"{key}: others may read the device's key", f"run: chmod 600 {key}")
    return good("home", f"{home.folder} is this user's own, and closed to others")


def enrolment_finding(home: AgentHome) -> tuple[Finding, Membership | None]:
    """Whether the device has joined a fleet, and which."""
    try:
        membership, description = Membership.read(home), DeviceDescription.read(home.folder)
        for file in (device_key(home), authority_file(home)):
            if not file.exists():
                raise FedstillError(f"{file}: missing")
        with PrivateStore.open(home):
            pass
    except FedstillError as error:
        return bad("enrolment", str(error), "enrol the device: fedstill-agent enrol FILE --name NAME"), None
    where = f"fleet {membership.run} at {membership.address}"
    return good("enrolment", f"{description.name} ({description.family}) is in {where}"), membership


def package_findings(home: AgentHome, membership: Membership, *, is_reached: bool) -> Iterator[Finding]:
    """Whether the installed package is whole, and whether the fleet has a newer one."""
    family = DeviceDescription.read(home.folder).family
    with PrivateStore.open(home) as store:
        try:
            manifest = load_installed(home, store).manifest
        except PackageError as error:
            again = "restart fedstill-agent run: it fetches the package again"
            yield bad("package", f"the installed package cannot be used: {error}", again)
            return
    plan = read_plan(home)
    if plan is not None and plan.rounds_off:
        yield bad("release plan", "the fleet's operator has switched rounds off", "wait, or ask the operator")
    if plan is not None and manifest.package_version in plan.withdrawn:
        withdrawn = f"the fleet has withdrawn package {manifest.package_version}, which is installed"
        yield bad("release plan", withdrawn, "the agent puts another in its place by itself; does it run?")
    mine = f"{manifest.package_version} of {manifest.family}, generation {manifest.generation}, is whole"
    if not is_reached and not membership.repository.startswith("/"):
        yield note("package", f"{mine}; whether there is a newer one is not known")
        return
    try:
        newest = source_of(home, membership).newest_version(family)
    except PackageError as error:
        yield bad("package", f"{mine}; the repository cannot be used: {error}", _of_repository(error))
        return
    if newest > manifest.package_version:
        yield note("package", f"{mine}; the fleet has published {newest}", "the agent installs it by itself")
    else:
        yield good("package", f"{mine}, and the newest")


def _of_repository(error: PackageError) -> str:
    if error.check == "expired":
        return "set this device's clock; if it is right, the operator runs: fedstill-server refresh FLEET"
    if error.check in ("unreachable", "missing"):
        return "ask the operator whether the fleet serves its packages"
    if error.check == "disk":
        return "make room in the home, and see that it can be written"
    return "ask the operator: what the fleet offers is not what this device trusts"


def eligibility_findings(home: AgentHome) -> Iterator[Finding]:
    """Each rule of eligibility.json with its reading."""
    remedy = f"wait, or change the rule in {home.folder / RULES_FILE}"
    try:
        rules = Rules.read(home.folder)
    except FedstillError as error:
        yield bad("eligibility", str(error), "correct the file, or remove it for the defaults")
        return
    load = LoadMeter()
    time.sleep(_LOAD_OVER_S)
    for reading in readings(rules, Conditions.read(home.folder, load=load)):
        check = f"eligibility: {reading.rule}"
        if reading.refusal is None:
            yield good(check, f"{reading.found}; the rule: {reading.allowed}")
        else:
            yield bad(check, f"{reading.refusal}; the rule: {reading.allowed}", remedy)


def policy_finding(home: AgentHome) -> Finding:
    """Whether the fleet asks for more than the owner's policy allows."""
    try:
        policy, said, newer = DevicePolicy.read(home.folder), read_statement(home.folder), None
        newer = newer_statement(home.folder)
    except FedstillError as error:
        return bad("policy", str(error), "set it anew: fedstill-agent policy --default")
    if said is None:
        return note("policy", "the fleet has not said what it asks; each task is held against the policy")
    if beyond := list(policy.excess(said)):
        found = f"the fleet asks for more than this device allows: {'; '.join(map(str, beyond))}"
        return bad("policy", found, f"if you want that: fedstill-agent policy {how_to_allow(beyond)}")
    if newer is not None:
        found = "the fleet's newest release asks for more than it said before, and is refused that"
        return bad("policy", found, "if you want that: fedstill-agent policy --accept")
    return good("policy", "it allows all that the fleet said it would ask")


def budget_findings(home: AgentHome) -> Iterator[Finding]:
    """What is left of the owner's budgets."""
    policy = DevicePolicy.read(home.folder)
    with PrivateStore.open(home) as store:
        spent, totals = spending_of(store.ledger).by_rule(), store.ledger.totals()
    epsilon = epsilon_of_rho(totals.rho, policy.delta)
    parts = [("epsilon", round(epsilon, 3), policy.epsilon)]
    parts += [(rule, value, getattr(policy, rule)) for rule, value in spent.items()]
    full = [f"{rule} ({value:,} of {bound:,})" for rule, value, bound in parts if value >= bound]
    nearly = [f"{rule} ({value:,} of {bound:,})" for rule, value, bound in parts if value >= _NEARLY * bound]
    if full:
        remedy = "wait, where it is of a day; else it is the owner's to change: fedstill-agent policy"
        yield bad("budget", f"spent: {', '.join(full)}", remedy)
    elif nearly:
        yield note("budget", f"nearly spent: {', '.join(nearly)}")
    else:
        yield good(
            "budget", f"epsilon {epsilon:.3g} of {policy.epsilon:g}; rounds today {spent['rounds_a_day']}"
        )


def disk_finding(home: AgentHome) -> Finding:
    """Whether the home can be written, and has room."""
    probe = home.folder / ".doctor"
    try:
        probe.write_bytes(b"\0" * 4096)
        probe.unlink()
    except OSError as error:
        return bad(
            "disk", f"{home.folder}: cannot be written: {error.strerror}", "make room, or mount it writable"
        )
    free_mb = shutil.disk_usage(home.folder).free / 2**20
    if free_mb < _LEAST_FREE_MB:
        return bad("disk", f"{free_mb:.0f} MB are free", f"make room: a round needs {_LEAST_FREE_MB} MB")
    return good("disk", f"{free_mb:,.0f} MB are free, and the home can be written")


def is_running(home: AgentHome) -> bool:
    """Whether a process takes part in the fleet for this home."""
    try:
        with home.run_lock.open("r") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def agent_finding(home: AgentHome) -> Finding:
    """Whether the agent runs, and how it stands with the server."""
    if not is_running(home):
        start = "start it: fedstill-agent run, or systemctl start fedstill-agent"
        return bad("agent", "fedstill-agent run does not run for this home", start)
    connection = read_connection(home)
    if connection is None:
        return note("agent", "it runs, and has not said yet how it stands with the server")
    if connection.is_connected(now=time.time()):
        window = ""
        if connection.next_window_at > time.time():
            window = f"; rounds may begin next at {_when(connection.next_window_at)}"
        return good("agent", f"it runs, and the server answered at {_when(connection.heard_at)}{window}")
    if connection.standing is Standing.CONNECTED:
        when = _when(connection.heard_at) if connection.heard_at else "never"
        return bad("agent", f"it runs; the server last answered at {when}", "see reachability")
    remedy = ""
    if connection.again_at:
        remedy = f"put right what is named above; it tries again at {_when(connection.again_at)}"
    return bad("agent", f"it runs; {connection.in_words()}", remedy)


def rounds_findings(home: AgentHome) -> Iterator[Finding]:
    """The last round that the device took part in, and the last tasks that it refused."""
    with PrivateStore.open(home) as store:
        answered, refused = store.ledger.last_answer(), last_refusals(store.ledger)
    if answered is None:
        yield note("rounds", "it has taken part in none yet")
    else:
        run, number, at = answered
        yield good("rounds", f"it took part in round {number} of {run} at {_when(at)}")
    for one in refused[: -_SHOWN_REFUSALS - 1 : -1]:
        yield note("refused", f"round {one.round} of {one.run} at {_when(one.at)}: {one.word}: {one.text}")


def all_skipped(why: str) -> Iterator[Finding]:
    """The checks of a device that is in no fleet."""
    names = ("reachability", "certificate", "clock", "registration", "package", "policy", "budget", "rounds")
    return (skipped(name, why) for name in names)


def _when(at: float) -> str:
    """A moment in local time."""
    return datetime.fromtimestamp(min(at, LAST_MOMENT)).isoformat(" ", "seconds")
