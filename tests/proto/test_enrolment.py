"""What an operator hands to a device: read back as written, and refused by the field that is wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fedstill_proto.system.enrolment import Enrolment, EnrolmentError, check_address

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
