"""Installing a package: whole or not at all, and never an older one."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fedstill_client.home import AgentHome
from fedstill_client.packages import InstalledPackage, PackageError, install, load_installed
from fedstill_client.packages.installed import KeptStudent
from fedstill_proto.errors import InvalidValue
from fedstill_proto.package.artifact import INFERENCE_FILE, MANIFEST_FILE

from tests.client.keyboard_samples import keyboard_package
from tests.client.package_samples import Record, full_package
from tests.client.samples import FAMILY


@pytest.fixture
def home(tmp_path: Path) -> AgentHome:
    return AgentHome(tmp_path)


def test_what_is_installed_is_loaded_again(home: AgentHome) -> None:
    record, package = Record(), full_package(3)
    installed = install(home, record, package)
    assert (installed.version, installed.family) == (3, FAMILY)
    assert installed.folder == home.packages / f"3-{FAMILY}"
    assert record.installed() == installed
    assert load_installed(home, record).contents() == package.contents()


def test_the_current_and_the_previous_package_are_kept(home: AgentHome) -> None:
    record = Record()
    for version in (1, 2, 3):
        install(home, record, full_package(version))
    assert sorted(folder.name for folder in home.packages.iterdir()) == [f"2-{FAMILY}", f"3-{FAMILY}"]
    assert [each.version for each in record.installations()] == [1, 2, 3]


def test_an_older_package_is_refused(home: AgentHome) -> None:
    record = Record()
    install(home, record, full_package(2))
    with pytest.raises(PackageError, match="package 1 of 'mlp-small' is not newer than the installed 2"):
        install(home, record, full_package(1))
    with pytest.raises(PackageError, match="not newer"):
        install(home, record, full_package(2, lowest_agent_version="0.0.1"))


def test_installing_the_package_in_use_again_repairs_it(home: AgentHome) -> None:
    record = Record()
    installed = install(home, record, full_package(1))
    assert install(home, record, full_package(1)) == installed
    assert len(record.all) == 1
    (installed.folder / INFERENCE_FILE).write_bytes(b"")
    assert install(home, record, full_package(1)) == installed
    assert load_installed(home, record).manifest.package_version == 1


def test_a_package_for_a_newer_agent_is_refused(home: AgentHome) -> None:
    with pytest.raises(PackageError, match=r"needs fedstill 0\.99"):
        install(home, Record(), full_package(1, lowest_agent_version="0.99"))
    assert not home.packages.exists()


class PowerCut(Record):
    """The power fails while the store records."""

    def forget_kept_answers(self) -> None:
        return

    def record_installation(
        self, installed: InstalledPackage, *, keeping: KeptStudent | None = None, owners: int = 0
    ) -> None:
        raise KeyboardInterrupt


def test_an_installation_that_died_leaves_the_package_before(home: AgentHome) -> None:
    record = Record()
    install(home, record, full_package(1))
    with pytest.raises(KeyboardInterrupt):
        install(home, PowerCut(record.all), full_package(2))
    assert load_installed(home, record).manifest.package_version == 1
    install(home, record, full_package(2))
    assert load_installed(home, record).manifest.package_version == 2


def test_a_half_written_folder_is_never_used(home: AgentHome) -> None:
    record = Record()
    install(home, record, full_package(1))
    half = home.packages / f".2-{FAMILY}.abc"
    half.mkdir()
    (half / MANIFEST_FILE).write_text("{")
    assert load_installed(home, record).manifest.package_version == 1
    install(home, record, full_package(2))
    assert not half.exists()


@pytest.mark.parametrize(("name", "check"), [(MANIFEST_FILE, "digest"), (INFERENCE_FILE, "digest")])
def test_a_changed_file_is_refused(home: AgentHome, name: str, check: str) -> None:
    record = Record()
    file = install(home, record, full_package(1)).folder / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(PackageError) as caught:
        load_installed(home, record)
    assert caught.value.check == check


def test_a_file_that_grew_or_went_is_refused(home: AgentHome) -> None:
    record = Record()
    file = install(home, record, full_package(1)).folder / INFERENCE_FILE
    file.write_bytes(file.read_bytes() + b"\0")
    with pytest.raises(PackageError, match="size"):
        load_installed(home, record)
    file.unlink()
    with pytest.raises(PackageError, match="cannot be read"):
        load_installed(home, record)


def test_nothing_installed_is_said_so(home: AgentHome) -> None:
    with pytest.raises(PackageError, match="no package is installed"):
        load_installed(home, Record())


def test_loading_a_package_needs_no_network_code() -> None:
    program = (
        "import sys, fedstill_client.packages as packages\n"
        "assert packages.load_installed\n"
        "print(sorted({'tuf', 'urllib3', 'cryptography', 'flwr'} & set(sys.modules)))\n"
        "assert packages.PackageSource and 'tuf' in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


def test_public_words_that_the_student_does_not_know_are_refused() -> None:
    package = keyboard_package()
    places, words = package.manifest.input_shape[0], package.manifest.classes
    public = np.full((2, places), words - 1)
    assert replace(package, public_x=public).public_x is public
    for wrong in (public + 1, public - words, public.astype(np.float32)):
        with pytest.raises(InvalidValue, match="public_x"):
            replace(package, public_x=wrong)
