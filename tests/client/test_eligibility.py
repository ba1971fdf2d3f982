"""When a device may work for the fleet: the readings, the rules, and the words."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import pytest
from fedstill_client.eligibility import Conditions, Eligibility, Rules, verdict
from fedstill_client.eligibility.conditions import LoadMeter
from fedstill_client.privacy.policy import DevicePolicy
from fedstill_proto.errors import FedstillError, InvalidValue

GOOD = Conditions(
    external_power=True,
    battery_percent=80.0,
    metered=False,
    other_load=0.1,
    free_memory_mb=900.0,
    free_disk_mb=5000.0,
    temperature_c=45.0,
)


def write(system: Path, **files: str) -> None:
    for name, text in files.items():
        file = system / name.replace("__", "/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")


def supply(system: Path, name: str, **values: str) -> None:
    for key, text in values.items():
        write(system, **{f"sys__class__power_supply__{name}__{key}": text})


def read(system: Path) -> Conditions:
    return Conditions.read(system, load=LoadMeter(), system=system)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"external_power": False}, "battery"),
        ({"battery_percent": 29.0}, "29 %, the rule is 30 %"),
        ({"metered": True}, "metered"),
        ({"other_load": 0.75}, "75% of the processors"),
        ({"free_memory_mb": 149.0}, "149 MB of memory"),
        ({"free_disk_mb": 99.0}, "99 MB of disk"),
        ({"temperature_c": 81.0}, "81 °C"),
    ],
)
def test_each_reading_that_breaks_its_rule_is_named(change: dict[str, float], words: str) -> None:
    assert verdict(Rules(), GOOD) is None

    reason = verdict(Rules(), dataclasses.replace(GOOD, **change))

    assert reason is not None
    assert words in reason


def test_what_cannot_be_read_is_not_held_against_the_device() -> None:
    unknown = dict.fromkeys(("external_power", "battery_percent", "metered", "temperature_c"))

    assert verdict(Rules(), dataclasses.replace(GOOD, **unknown)) is None


def test_rules_that_are_switched_off_ask_nothing() -> None:
    worst = Conditions(
        external_power=False,
        battery_percent=1.0,
        metered=True,
        other_load=1.0,
        free_memory_mb=1.0,
        free_disk_mb=1.0,
        temperature_c=200.0,
    )
    rules = Rules(
        external_power=False,
        min_battery_percent=0,
        unmetered_network=False,
        max_other_load=1,
        min_free_memory_mb=0,
        min_free_disk_mb=0,
        max_temperature_c=0,
    )

    assert verdict(rules, worst) is None


def test_a_laptop_on_its_battery(tmp_path: Path) -> None:
    supply(tmp_path, "AC", type="Mains", online="0")
    supply(tmp_path, "BAT0", type="Battery", status="Discharging", capacity="64")

    now = read(tmp_path)

    assert (now.external_power, now.battery_percent) == (False, 64.0)


def test_a_charging_battery_is_external_power_and_a_mouse_s_does_not_count(tmp_path: Path) -> None:
    supply(tmp_path, "BAT0", type="Battery", status="Charging", capacity="20")
    supply(tmp_path, "hid", type="Battery", status="Discharging", capacity="3", scope="Device")

    now = read(tmp_path)

    assert (now.external_power, now.battery_percent) == (True, 20.0)


def test_a_board_without_battery_or_sensors(tmp_path: Path) -> None:
    now = read(tmp_path)

    assert (now.external_power, now.battery_percent, now.metered, now.temperature_c) == (None,) * 4


@pytest.mark.parametrize(("interface", "metered"), [("wwan0", True), ("ppp0", True), ("eth0", None)])
def test_a_mobile_network_is_metered(tmp_path: Path, interface: str, metered: bool | None) -> None:
    head = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask"
    route = f"{interface}\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000"
    write(tmp_path, proc__net__route=f"{head}\nlo\t0000007F\t0\t1\t0\t0\t0\t000000FF\n{route}")

    assert read(tmp_path).metered is metered


def test_the_hottest_zone_counts(tmp_path: Path) -> None:
    write(
        tmp_path,
        sys__class__thermal__thermal_zone0__temp="41000",
        sys__class__thermal__thermal_zone1__temp="56500",
    )

    assert read(tmp_path).temperature_c == 56.5


def test_this_machine_can_be_read() -> None:
    now = Conditions.read(Path("/"), load=LoadMeter())

    assert now.free_memory_mb > 0
    assert now.free_disk_mb > 0
    assert 0 <= now.other_load <= 1


def test_own_work_is_no_other_load() -> None:
    meter = LoadMeter()
    end = os.times().user + 0.3
    while os.times().user < end:
        pass
    busy, total, own = meter._look()
    before = meter._last

    assert own - before[2] >= 0.25
    assert meter.other_load() <= max((busy - before[0] - 0.25) / (total - before[0]), 0) + 1


def test_rules_come_from_a_file_that_is_read_anew(tmp_path: Path) -> None:
    file = tmp_path / "eligibility.json"
    off = {"max_other_load": 1, "min_free_memory_mb": 0, "external_power": False, "max_temperature_c": 0}
    file.write_text(json.dumps(off | {"unmetered_network": False, "min_free_disk_mb": 0}))
    eligible = Eligibility(tmp_path)
    assert eligible() is None

    file.write_text(json.dumps(off | {"min_free_disk_mb": 1e12}))
    eligible._checked_at -= 2

    assert "disk" in (eligible() or "")


def test_an_editor_s_byte_order_mark_is_no_part_of_rules_and_policies(tmp_path: Path) -> None:
    (tmp_path / "eligibility.json").write_text('{"max_other_load": 0.25}', encoding="utf-8-sig")
    (tmp_path / "policy.json").write_text('{"most_epochs": 3}', encoding="utf-16")
    assert Rules.read(tmp_path).max_other_load == 0.25
    assert DevicePolicy.read(tmp_path).most_epochs == 3


@pytest.mark.parametrize(
    "text", ["[]", "{", '{"max_other_load": 2}', '{"idle": true}', '{"min_free_disk_mb": "1"}']
)
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "eligibility.json").write_text(text)

    with pytest.raises(FedstillError, match=r"eligibility\.json"):
        Rules.read(tmp_path)


def test_a_rule_out_of_range_is_refused() -> None:
    with pytest.raises(InvalidValue, match="min_battery_percent"):
        Rules(min_battery_percent=101)
