"""A fleet's folder on the operator's machine: settings, certificates, registered devices, the invitation."""

from __future__ import annotations

import itertools
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from fedstill_client.device_description import DeviceDescription
from fedstill_proto.errors import FedstillError, InvalidValue
from fedstill_proto.system.enrolment import Enrolment
from fedstill_proto.system.sealed import DamagedFile, read_sealed_json, write_sealed_json
from fedstill_server.cli import cli
from fedstill_server.fleet.certificates import (
    authority_file,
    create_authority,
    renew_server_certificate,
    server_files,
)
from fedstill_server.fleet.devices import DeviceRegister
from fedstill_server.fleet.errors import FleetError
from fedstill_server.fleet.folder import FleetFolder, FleetSettings
from fedstill_server.fleet.inviting import enrolment_of
from fedstill_server.publish.repository import Repository
from typer.testing import CliRunner

from tests.client.package_samples import full_package

SETTINGS = FleetSettings(host="fleet.example.org", port=8443, superlink_port=8000)


@pytest.fixture
def fleet(tmp_path: Path) -> FleetFolder:
    fleet = FleetFolder.create(tmp_path / "fleet", SETTINGS)
    create_authority(fleet)
    renew_server_certificate(fleet)
    return fleet


def certificate(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def key_file(
    folder: Path, *, comment: str = "kitchen", key: ec.EllipticCurvePrivateKey | None = None
) -> Path:
    public = (key or ec.generate_private_key(ec.SECP384R1())).public_key()
    path = folder / "device.pub"
    path.write_bytes(public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH) + f" {comment}\n".encode())
    return path


class TestFolder:
    def test_it_is_the_operator_s_alone_and_made_once(self, fleet: FleetFolder) -> None:
        assert {path.stat().st_mode & 0o777 for path in (fleet.folder, fleet.keys)} == {0o700}
        assert {path.stat().st_mode & 0o077 for path in fleet.keys.iterdir()} == {0}
        with pytest.raises(FleetError, match="there is a fleet already"):
            FleetFolder.create(fleet.folder, SETTINGS)

    def test_it_opens_with_what_it_was_made_with(self, fleet: FleetFolder) -> None:
        opened = FleetFolder.open(fleet.folder)
        assert opened.settings == SETTINGS
        assert opened.settings.address == "fleet.example.org:8443"
        assert len(opened.run) == 8
        assert FleetFolder.is_at(fleet.folder)

    def test_another_folder_is_none(self, tmp_path: Path) -> None:
        assert not FleetFolder.is_at(tmp_path)
        with pytest.raises(FleetError, match="run: fedstill-server init"):
            FleetFolder.open(tmp_path)

    def test_a_missing_setting_is_named(self, fleet: FleetFolder) -> None:
        write_sealed_json(fleet.folder / "fleet.json", {"host": "a", "port": 1, "superlink_port": 2})
        with pytest.raises(FleetError, match=r"fleet\.json: no field 'proxy'"):
            FleetFolder.open(fleet.folder)

    def test_what_was_changed_by_hand_is_refused_until_it_is_sealed(self, fleet: FleetFolder) -> None:
        file, key = fleet.folder / "fleet.json", fleet.keys / "ca.pem"
        file.write_text(file.read_text().replace("fleet.example.org", "other.example.org"))
        key.write_bytes(key.read_bytes() + b" ")
        with pytest.raises(DamagedFile, match=r"fleet\.json: damaged.*fedstill-server seal"):
            FleetFolder.open(fleet.folder)
        with pytest.raises(DamagedFile, match=r"ca\.pem: damaged"):
            fleet.digests.check()

        done = CliRunner().invoke(cli, ["seal", str(fleet.folder)])
        assert done.exit_code == 0, done.output
        assert FleetFolder.open(fleet.folder).settings.host == "other.example.org"
        fleet.digests.check()

    def test_it_is_served_by_one_process(self, fleet: FleetFolder) -> None:
        with fleet.held(), pytest.raises(FleetError, match="up already"), fleet.held():
            pass

    @pytest.mark.parametrize(
        ("changes", "named"),
        [
            ({"port": 0}, "host"),
            ({"superlink_port": 70_000}, "superlink_port: 70000"),
            ({"superlink_port": 8443}, "superlink_port: 8443 is the proxy's port"),
            ({"host": "a b"}, "host"),
            ({"host": "x; }"}, "host"),
            ({"proxy": False}, "without the proxy everybody who reaches the server may control it"),
        ],
    )
    def test_settings_that_cannot_be_are_refused(self, changes: dict[str, object], named: str) -> None:
        with pytest.raises(FedstillError, match=named):
            FleetSettings(**{**vars(SETTINGS), **changes})  # type: ignore[arg-type]

    def test_without_the_proxy_loopback_will_do(self) -> None:
        settings = FleetSettings(host="127.0.0.1", port=8443, superlink_port=8000, proxy=False)
        assert settings.address == "127.0.0.1:8000"


class TestCertificates:
    def test_the_server_s_is_signed_by_the_fleet_s_authority_for_its_names(self, fleet: FleetFolder) -> None:
        own, authority = certificate(server_files(fleet)[0]), certificate(authority_file(fleet))
        own.verify_directly_issued_by(authority)
        names = own.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert set(names.get_values_for_type(x509.DNSName)) == {"fleet.example.org", "localhost"}
        assert authority.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length == 0
        ssl.create_default_context(cafile=str(authority_file(fleet)))
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(*server_files(fleet))

    def test_it_is_renewed_in_time_and_not_before(self, fleet: FleetFolder) -> None:
        first = certificate(server_files(fleet)[0])
        assert not renew_server_certificate(fleet)
        soon = datetime.now(UTC) + timedelta(days=397 - 89)
        assert renew_server_certificate(fleet, now=soon)
        assert certificate(server_files(fleet)[0]).serial_number != first.serial_number

    def test_another_host_needs_another_certificate(self, fleet: FleetFolder) -> None:
        file = fleet.folder / "fleet.json"
        write_sealed_json(file, read_sealed_json(file) | {"host": "other.example.org"})
        assert renew_server_certificate(fleet)

    def test_a_damaged_key_is_named(self, fleet: FleetFolder) -> None:
        (fleet.keys / "ca.pem").write_text("nothing")
        server_files(fleet)[0].unlink()
        with pytest.raises(FleetError, match=r"ca\.pem: not a private key"):
            renew_server_certificate(fleet)


class TestRegister:
    def test_a_device_is_known_by_its_key_s_comment_and_fingerprint(self, tmp_path: Path) -> None:
        register = DeviceRegister(tmp_path / "devices")
        device = register.add(key_file(tmp_path, comment="the kitchen's"))
        assert device.name == "the kitchen's"
        assert device.fingerprint.startswith("SHA256:")
        assert register.all() == [device]
        assert register.add(tmp_path / "device.pub") == device  # the same again is no error

    def test_a_name_has_one_key_and_a_key_one_name(self, tmp_path: Path) -> None:
        register = DeviceRegister(tmp_path / "devices")
        register.add(key_file(tmp_path))
        with pytest.raises(FleetError, match="this key is registered already, as 'kitchen'"):
            register.add(tmp_path / "device.pub", "hall")
        with pytest.raises(FleetError, match="another key is registered by this name"):
            register.add(key_file(tmp_path))

    def test_one_is_taken_away_by_its_name(self, tmp_path: Path) -> None:
        register = DeviceRegister(tmp_path / "devices")
        register.add(key_file(tmp_path))
        register.remove("kitchen")
        assert register.all() == []
        with pytest.raises(FleetError, match="'kitchen': no such device; registered are: none"):
            register.remove("kitchen")

    @pytest.mark.parametrize("content", [b"", b"ssh-ed25519 AAAA x", b"-----BEGIN", b"\xff" * 5000])
    def test_what_is_no_key_is_refused(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "bad.pub").write_bytes(content)
        with pytest.raises(FleetError, match=r"bad\.pub: not a public key of the curve P-384"):
            DeviceRegister(tmp_path / "devices").add(tmp_path / "bad.pub")

    def test_a_key_of_another_kind_is_refused(self, tmp_path: Path) -> None:
        key = rsa.generate_private_key(65537, 2048).public_key()
        (tmp_path / "rsa.pub").write_bytes(key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH))
        with pytest.raises(FleetError, match="curve P-384"):
            DeviceRegister(tmp_path / "devices").add(tmp_path / "rsa.pub", "kitchen")

    @pytest.mark.parametrize(
        "saved",
        [
            lambda text: b"\xef\xbb\xbf" + text,
            lambda text: b"\n\r\n  " + text.replace(b"\n", b"\r\n") + b"\r\n",
            lambda text: text.decode().encode("utf-16"),
        ],
    )
    def test_what_an_editor_puts_around_a_key_is_no_part_of_it(
        self, tmp_path: Path, saved: Callable[[bytes], bytes]
    ) -> None:
        file = key_file(tmp_path, comment="the kitchen's")
        clock = itertools.repeat(5.0).__next__
        before = DeviceRegister(tmp_path / "devices", clock=clock).add(file)
        file.write_bytes(saved(file.read_bytes()))
        assert DeviceRegister(tmp_path / "again", clock=clock).add(file) == before

    def test_two_keys_in_a_file_are_refused(self, tmp_path: Path) -> None:
        file = key_file(tmp_path)
        file.write_bytes(2 * file.read_bytes())
        with pytest.raises(FleetError, match="more than one line"):
            DeviceRegister(tmp_path / "devices").add(file)

    def test_blanks_around_a_name_are_left_out_on_both_sides(self, tmp_path: Path) -> None:
        register = DeviceRegister(tmp_path / "devices")
        assert register.add(key_file(tmp_path), " kitchen ").name == "kitchen"
        assert DeviceDescription(" kitchen ", "mlp-small").name == "kitchen"

    @pytest.mark.parametrize("name", ["x" * 65, "a\nb"])
    def test_a_name_is_short_and_printable(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(InvalidValue, match="name"):
            DeviceRegister(tmp_path / "devices").add(key_file(tmp_path), name)


class TestInvitation:
    def test_there_must_be_students_first(self, fleet: FleetFolder) -> None:
        Repository.create(fleet.folder)
        with pytest.raises(FleetError, match="no student is published yet"):
            enrolment_of(fleet)

    def test_it_holds_all_that_a_device_needs_and_no_secret(self, fleet: FleetFolder) -> None:
        Repository.create(fleet.folder).publish([full_package(1)])
        enrolment = enrolment_of(fleet)
        assert Enrolment.from_json(enrolment.to_json()) == enrolment
        assert enrolment.repository == "https://fleet.example.org:8443/repository"
        assert enrolment.certificate_authority == authority_file(fleet).read_text()
        assert "PRIVATE" not in enrolment.to_json()
