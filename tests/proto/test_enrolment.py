"""What an operator hands to a device: read back as written, and refused by the field that is wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fedstill_proto.checks import device_name
from fedstill_proto.errors import InvalidValue
from fedstill_proto.system.enrolment import Enrolment, EnrolmentError, check_address, read_host

GOOD = Enrolment(
    run="0123abcd",
    address="fleet.example.org:8443",
    repository="https://fleet.example.org:8443/repository",
    families=("cnn", "mlp-small"),
    certificate_authority="-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
    package_root='{"signed": {}}',
)


def changed(**fields: Any) -> str:
    return json.dumps(json.loads(GOOD.to_json()) | fields)


def test_it_reads_back_what_it_wrote() -> None:
    assert Enrolment.from_json(GOOD.to_json()) == GOOD


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_an_editor_s_byte_order_mark_is_no_part_of_it(encoding: str) -> None:
    assert Enrolment.from_json(GOOD.to_json().encode(encoding)) == GOOD


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (changed(format=2), "format: this version"),
        (changed(run="../x"), "run"),
        (changed(address="fleet.example.org"), "address"),
        (changed(address="user@fleet.example.org:8443"), "address"),
        (changed(address=8443), "address: 8443 is not a text"),
        (changed(repository="http://fleet.example.org/r"), "repository"),
        (changed(families=[]), "families: there are none"),
        (changed(families="cnn"), "families: not a list"),
        (changed(families=["a/b"]), "families"),
        (changed(certificate_authority="trust me"), "certificate_authority"),
        (changed(package_root="[]"), "package_root"),
        (changed(extra=1), "and no other"),
        ("[" * 100_000, "not JSON"),
        ("[]", "it must hold the fields"),
    ],
)
def test_it_names_what_is_wrong(text: str, named: str) -> None:
    with pytest.raises(EnrolmentError, match=named):
        Enrolment.from_json(text)


@pytest.mark.parametrize(
    ("address", "expected"),
    [("127.0.0.1:1", ("127.0.0.1", 1)), ("[::1]:65535", ("::1", 65535)), ("fleet:80", ("fleet", 80))],
)
def test_an_address_is_a_host_and_a_port(address: str, expected: tuple[str, int]) -> None:
    assert check_address("address", address) == expected


@pytest.mark.parametrize("address", ["", ":80", "fleet:", "fleet:0", "fleet:65536", "fleet:80/x", "a b:1"])
def test_nothing_else_is_an_address(address: str) -> None:
    with pytest.raises(EnrolmentError, match="address"):
        check_address("address", address)


@pytest.mark.parametrize(
    ("given", "host"),
    [
        ("fleet.example.org", "fleet.example.org"),
        ("kitchen_pi", "kitchen_pi"),
        ("10.0.0.30", "10.0.0.30"),
        ("[::1]", "::1"),
        ("2001:DB8::1", "2001:db8::1"),
    ],
)
def test_a_host_is_a_name_or_an_address(given: str, host: str) -> None:
    assert read_host("--host", given) == host


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("10.0.0.300", "is no address: of IPv4 it has four numbers from 0 to 255"),
        ("a..b", "divided by single dots"),
        ("fleet.example.org.", "divided by single dots"),
        ("-fleet", "letters, digits"),
        ("a b", "letters, digits"),
        ("", "letters, digits"),
        ("0.0.0.0", "no address that a device can reach"),
        ("[::]", "no address that a device can reach"),
        ("224.0.0.1", "no address that a device can reach"),
        ("fe80::1%eth0", "no address that a device can reach"),
        ("fleet:8443", "the port with --port"),
        ("[::1]:8443", "the port with --port"),
        ("https://fleet.example.org", "give the name alone"),
        ("küche.example.org", "give xn--kche-0ra.example.org"),
    ],
)
def test_a_host_that_no_device_could_reach_is_refused(given: str, problem: str) -> None:
    with pytest.raises(EnrolmentError, match=problem):
        read_host("--host", given)


def test_a_device_s_name_is_trimmed_and_bounded() -> None:
    assert device_name("name", " kitchen\t") == "kitchen"
    assert device_name("name", "k" * 64) == "k" * 64
    for bad in ("", "  ", "k" * 65, "a\nb", "a\u200bb", None):
        with pytest.raises(InvalidValue, match=r"name: .* is no printable name of 1 to 64 characters"):
            device_name("name", bad)
