"""The way from the device to its server: name, connection, TLS, HTTP; and whether the server lets it in."""

from __future__ import annotations

import email.utils
import http.client
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from fedstill_proto.errors import FedstillError
from fedstill_proto.system.enrolment import check_address
from fedstill_proto.system.fleet_http import NotLetIn
from fedstill_proto.system.proxies import proxy_of
from fedstill_proto.system.steering import CLOCK, REVOKED
from fedstill_proto.system.tls_errors import certificate_error, in_words, is_of_dates, this_date

from fedstill_client.doctor.finding import Finding, bad, good, note, skipped
from fedstill_client.fleet.membership import Membership, authority_file, device_key
from fedstill_client.fleet.node import read_node
from fedstill_client.fleet.supernode import access_of
from fedstill_client.home import AgentHome
from fedstill_client.packages.fetchers import proxy_headers

_WITHIN_S = 10.0
# What the server takes of a request's time: so much ahead of its own, and so much behind (as Flower does).
_AHEAD_S, _BEHIND_S = 5.0, 300.0
_EXPIRES_SOON_DAYS = 14


@dataclass(frozen=True, kw_only=True)
class ServerAnswer:
    """What came of asking a server for a page that it need not have.

    Attributes:
        problem: Why there is no answer, or none that is believed; None where there is one.
        step: The step that failed: "reach" or "certificate".
        remedy: What to do.
        date: The server's date by its HTTP header, if it said one; of a server that is not believed, too.
        differs_s: The device's clock less that of the server, in seconds.
        expires: When the server's certificate expires.
    """

    problem: str | None = None
    step: str = ""
    remedy: str = ""
    date: datetime | None = None
    differs_s: float = 0.0
    expires: datetime | None = None


def server_findings(home: AgentHome, membership: Membership) -> Iterator[Finding]:
    """Whether the server is reached, is the fleet's own, has the same time, and lets the device in."""
    answer = ask_server(membership.address, authority_file(home))
    through = _proxy_words(membership.address)
    if answer.problem is None:
        yield good("reachability", f"{membership.address} answers over TLS{through}")
        yield _certificate(answer)
    elif answer.step == "reach":
        yield bad("reachability", f"{answer.problem}{through}", answer.remedy)
        yield skipped("certificate", "the server is not reached")
    else:
        yield good("reachability", f"a server answers at {membership.address}{through}")
        yield bad("certificate", answer.problem, answer.remedy)
    yield clock_finding(home, answer)
    if answer.problem is None:
        yield registration_finding(home)
    else:
        yield skipped("registration", "the fleet's server is not reached")


def ask_server(address: str, authority: Path) -> ServerAnswer:
    """Ask a server for its front page, and note where that ends."""
    host, port = check_address("address", address)
    try:
        trusted = ssl.create_default_context(cafile=str(authority))
    except (OSError, ssl.SSLError) as error:
        return ServerAnswer(
            problem=f"{authority}: not the fleet's certificate authority: {error}",
            step="certificate",
            remedy="enrol the device in a new home",
        )
    try:
        return _asked(host, port, trusted)
    except socket.gaierror as error:
        found = f"the name {host} is not found ({error.strerror})"
        remedy = "look at the network and its DNS; was the server's name changed?"
        return ServerAnswer(problem=found, step="reach", remedy=remedy)
    except TimeoutError:
        found = f"{address} does not answer within {_WITHIN_S:.0f} s"
        remedy = "is the server up, and does a firewall let this port through?"
        return ServerAnswer(problem=found, step="reach", remedy=remedy)
    except ssl.SSLError as error:
        return _not_believed(host, port, error)
    except (OSError, http.client.HTTPException) as error:
        found = f"{address}: no connection: {error}"
        return ServerAnswer(problem=found, step="reach", remedy="is the server up, and the port right?")


def _asked(host: str, port: int, context: ssl.SSLContext) -> ServerAnswer:
    connection = _connection(host, port, context)
    try:
        connection.request("GET", "/", headers={"Connection": "close"})
        there = connection.sock
        certificate = there.getpeercert(binary_form=True) if isinstance(there, ssl.SSLSocket) else None
        response = connection.getresponse()
        now = datetime.now(UTC)
    finally:
        connection.close()
    expires = None
    if certificate is not None:
        expires = x509.load_der_x509_certificate(certificate).not_valid_after_utc
    answer = ServerAnswer(expires=expires)
    try:
        date = email.utils.parsedate_to_datetime(response.getheader("Date", ""))
    except (TypeError, ValueError):
        return answer
    date = date if date.tzinfo else date.replace(tzinfo=UTC)
    # The header has whole seconds: half of one more is the middle of what it can mean.
    return replace(answer, date=date, differs_s=(now - date).total_seconds() - 0.5)


def _connection(host: str, port: int, context: ssl.SSLContext) -> http.client.HTTPSConnection:
    """A connection that is not open yet, through the proxy that the environment names, if it names one."""
    proxy = urlsplit(proxy_of(f"https://{host}:{port}"))
    if not proxy.hostname:
        return http.client.HTTPSConnection(host, port, timeout=_WITHIN_S, context=context)
    connection = http.client.HTTPSConnection(
        proxy.hostname, proxy.port or 80, timeout=_WITHIN_S, context=context
    )
    connection.set_tunnel(host, port, proxy_headers(proxy.geturl()))
    return connection


def _not_believed(host: str, port: int, error: ssl.SSLError) -> ServerAnswer:
    """The answer of a server whose certificate is refused: its date is asked for all the same, as a hint."""
    certificate = certificate_error(error)
    if certificate is None:
        found = f"{host}:{port} does not speak TLS as a fleet's server does ({error.reason or error})"
        return ServerAnswer(problem=found, step="reach", remedy="is this the address and port of the fleet?")
    careless = ssl.SSLContext(
        ssl.PROTOCOL_TLS_CLIENT
    )  # its date and its issuer's name are asked for, no more
    careless.check_hostname, careless.verify_mode = False, ssl.CERT_NONE
    try:
        answer = _asked(host, port, careless)
    except (OSError, http.client.HTTPException):
        answer = ServerAnswer()
    remedy = "ask the operator whether the fleet has moved; if its authority is new, enrol in a new home"
    if is_of_dates(certificate):
        remedy = "set this device's clock"
    return replace(answer, problem=in_words(certificate), step="certificate", remedy=remedy)


def _proxy_words(address: str) -> str:
    proxy = urlsplit(proxy_of(f"https://{address}")).hostname
    return f", through the proxy {proxy} (HTTPS_PROXY)" if proxy else ""


def _certificate(answer: ServerAnswer) -> Finding:
    if answer.expires is None:
        return good("certificate", "it is the fleet's own")
    days = (answer.expires - datetime.now(UTC)).days
    found = f"it is the fleet's own, and good until {answer.expires:%Y-%m-%d}"
    if days < _EXPIRES_SOON_DAYS:
        return note(
            "certificate", found, "tell the operator: fedstill-server up renews it when it is started"
        )
    return good("certificate", found)


def clock_finding(home: AgentHome, answer: ServerAnswer) -> Finding:
    """Whether the device's clock is right, by the server's date, or else by the fleet's own certificates."""
    here = this_date()
    remedy = "set this device's clock, and have it set from the network (timedatectl set-ntp true)"
    if answer.date is not None:
        ahead = answer.differs_s
        found = f"it is {here} here, {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} the server"
        if not -_BEHIND_S < ahead < _AHEAD_S + 1:
            return bad("clock", f"{found} ({answer.date:%Y-%m-%d %H:%M:%S} UTC)", remedy)
        return good("clock", found)
    try:
        authority = x509.load_pem_x509_certificate(authority_file(home).read_bytes())
    except (OSError, ValueError):
        return skipped("clock", f"it is {here} here, and no server says what it is there")
    now = datetime.now(UTC)
    if not authority.not_valid_before_utc <= now <= authority.not_valid_after_utc:
        span = f"{authority.not_valid_before_utc:%Y-%m-%d} to {authority.not_valid_after_utc:%Y-%m-%d}"
        return bad("clock", f"it is {here} here, and the fleet's certificate is good from {span}", remedy)
    return note("clock", f"it is {here} here; no server said what it is there")


def registration_finding(home: AgentHome) -> Finding:
    """Whether the server lets this device's key in, asked with a signed request that changes nothing."""
    public_key = device_key(home).with_suffix(".pub")
    try:
        access_of(home).check(read_node(home))
    except NotLetIn as refusal:
        if refusal.why == REVOKED:
            return bad("registration", "the operator has revoked this device's key", "ask the operator why")
        if refusal.why == CLOCK:
            return bad(
                "registration", "the server refuses the time of this device's requests", "set its clock"
            )
        return bad(
            "registration",
            "the server does not know this device's key",
            f"bring {public_key} to the operator, who runs: fedstill-server register FLEET {public_key.name}",
        )
    except FedstillError as error:
        return note(
            "registration", f"the server did not say ({type(error).__name__}: {error})", "ask again later"
        )
    return good("registration", "the server lets this device's key in")
