"""A newer package is fetched, verified and installed: the device has the old one or the new one, whole."""

from __future__ import annotations

from fedstill_client.device_description import DeviceDescription
from fedstill_client.fleet.enrol import enrol
from fedstill_client.fleet.membership import MembershipError, device_key
from fedstill_client.home import ENCRYPTIONS, AgentHome
from fedstill_client.packages import InstalledPackage, update
from fedstill_client.store import PrivateStore
from fedstill_proto.system.enrolment import Enrolment

from kills.operation import Whole, Words, check_opens, digest_of, hold, say, student_of
from kills.place import Place


class Install:
    name = "install"

    def work(self, home: AgentHome, place: Place) -> None:
        say(version=update_package(home, place).version)

    def look(self, home: AgentHome, place: Place, said: Words, whole: Whole) -> str:
        check_opens(home)
        version = _installed(home).version
        hold(version in (1, 2), f"version {version} is installed")
        hold(not said.whole or version == 2, "version 2 was acknowledged, and is not installed")
        personal = digest_of(student_of(home, version=1))
        hold(personal == digest_of(student_of(place.home)), "the personal student has changed")
        update_package(home, place)
        check_opens(home)
        hold(_installed(home).version == 2, "version 2 cannot be installed afterwards")
        hold(digest_of(student_of(home)) == personal, "the personal student has not gone over to version 2")
        folders = sorted(folder.name.partition("-")[0] for folder in home.packages.iterdir())
        hold(folders == ["1", "2"], f"the packages' folder holds {folders}")
        leftovers = [path.name for path in home.trust.glob(".fetch-*")]
        hold(not leftovers, f"downloads are left: {leftovers}")
        return "new" if version == 2 else "old"


class Enrol:
    """The first installation: the same command, given again, ends what the kill interrupted."""

    name = "enrol"

    def work(self, home: AgentHome, place: Place) -> None:
        self._enrol(_new(home), place)
        say(enrolled=True)

    def look(self, home: AgentHome, place: Place, said: Words, whole: Whole) -> str:
        home = _new(home)
        state = "new" if home.fleet.exists() else "half" if home.folder.exists() else "old"
        hold(not said.whole or state == "new", "the enrolment was acknowledged, and is not there")
        key = device_key(home)
        before = key.read_bytes() if key.exists() else None
        if state == "new":
            check_opens(home)
            try:
                self._enrol(home, place)
            except MembershipError:
                pass  # in the fleet already
            else:
                hold(False, "it enrolled twice")
        else:
            self._enrol(home, place)
        hold(before is None or key.read_bytes() == before, "the device has got another key")
        hold(_installed(home).version == 2, "the newest package is not installed")
        check_opens(home)
        DeviceDescription.read(home.folder)
        return state

    def _enrol(self, home: AgentHome, place: Place) -> None:
        enrolment = Enrolment.from_json(place.enrolment.read_text())
        enrol(home, enrolment, name="hall", encryption=_encryption())


def _new(home: AgentHome) -> AgentHome:
    """Make a home in which no device is enrolled yet."""
    return AgentHome(home.folder / "new")


def _encryption() -> str:
    try:
        import sqlcipher3  # noqa: F401
    except ImportError:
        return "off"
    return ENCRYPTIONS[1]


def update_package(home: AgentHome, place: Place) -> InstalledPackage:
    with PrivateStore.open(home) as store:
        family = DeviceDescription.read(home.folder).family
        return update(home, store, place.source(home), family) or _known(store.installed())


def _installed(home: AgentHome) -> InstalledPackage:
    with PrivateStore.open(home) as store:
        return _known(store.installed())


def _known(installed: InstalledPackage | None) -> InstalledPackage:
    hold(installed is not None, "no package is installed")
    assert installed is not None
    return installed
