"""A device that never answers a measurement holds up one round, and no other."""

from __future__ import annotations

from fedstill_server.rounds.message_work import SilentDevices
from fedstill_server.rounds.roster import Member

ASKED: dict[str | None, Member] = {
    message: Member(device, "mlp-small", 1) for message, device in (("a", "ann"), ("b", "ben"))
}


def test_a_device_is_waited_for_until_it_has_let_a_deadline_pass() -> None:
    silent = SilentDevices(are_noted=True)
    assert silent.is_waited_for(["b"], ASKED)
    silent.note(["ben"])
    assert not silent.is_waited_for(["b"], ASKED)
    assert silent.is_waited_for(["a", "b"], ASKED)


def test_where_all_are_silent_the_deadline_is_theirs() -> None:
    silent = SilentDevices(are_noted=True)
    silent.note(["ann", "ben"])
    assert silent.is_waited_for(["a", "b"], ASKED)


def test_in_a_simulation_everyone_is_waited_for() -> None:
    silent = SilentDevices(are_noted=False)
    silent.note(["ben"])
    assert silent.is_waited_for(["b"], ASKED)
