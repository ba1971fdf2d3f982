from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from fedstill_client.secure_sums.member import offer_keys
from fedstill_client.secure_sums.rule import SumRefused, SumRule
from fedstill_proto.codec.sum_codec import decode_revealed, encode_agreements, encode_roster, encode_survivors
from fedstill_proto.secure_sums.messages import SumAgreements, SumRoster, SumSurvivors
from fedstill_proto.secure_sums.terms import SumNoise
from fedstill_server.secure_sums.group_sum import SumFailed

from tests.system.sum_groups import STEPS, Dropouts, Group, run_steps, steps_of, terms_of


@pytest.mark.parametrize("step", STEPS)
def test_the_sum_is_exact_after_dropouts_at_any_step(step: str) -> None:
    group = Group.of(20, terms_of(50))
    dropouts = Dropouts(0.3, [step], set(range(20)))
    dropouts.before("advertise")
    server = group.server(sorted(dropouts.alive))
    run_steps(group, server, dropouts)
    opened = server.opened()
    assert len(opened.members) == (14 if step in ("advertise", "deal", "mask") else 20)
    np.testing.assert_array_equal(opened.steps, group.vectors[opened.members].sum(axis=0))


def test_the_sum_is_exact_after_dropouts_at_every_step() -> None:
    group = Group.of(30, terms_of(20, dropouts=0.7), rule=SumRule(least_group=3, curious_server=True))
    dropouts = Dropouts(0.3, STEPS, set(range(30)))
    dropouts.before("advertise")
    server = group.server(sorted(dropouts.alive))
    run_steps(group, server, dropouts)
    opened = server.opened()
    assert len(dropouts.alive) < len(opened.members) < 15
    np.testing.assert_array_equal(opened.steps, group.vectors[opened.members].sum(axis=0))


def test_too_few_survivors_open_nothing() -> None:
    group = Group.of(20, terms_of(5))
    server = group.server(range(20))
    with pytest.raises(SumFailed, match="12 devices have sent their numbers, 14 needed"):
        run_steps(group, server, Dropouts(0.4, ["mask"], set(range(20))))


def test_no_numbers_are_seen_by_the_server_but_the_sum() -> None:
    """Of small numbers under masks, the bytes that are sent look like uniform ones."""
    group = Group.of(5, terms_of(4000))
    server = group.server(range(5))
    run_steps(group, server, Dropouts(0, [], set(range(5))))
    bits = group.terms.bits(5)
    for numbers in server._masked.values():
        counts = np.bincount(numbers >> (bits - 4), minlength=16)
        assert (counts - 250).max() < 100  # 6 standard deviations
    np.testing.assert_array_equal(server.opened().steps, group.vectors.sum(axis=0))


def test_the_same_question_gets_the_same_answer_and_another_is_refused() -> None:
    group = Group.of(6, terms_of(3))
    server = group.server(range(6))
    for step, asks, take in steps_of(server):
        for place, question in asks().items():
            answer = group.answer(step, place, question)
            assert group.answer(step, place, question) == answer
            take(place, answer)
        if step == "mask":
            fewer = server.deliveries()[0]
            dealt = server._sealed.pop(5)
            other = server.deliveries()[0]
            assert other != fewer
            with pytest.raises(SumRefused, match="another delivery"):
                group.answer("mask", 0, other)
            server._sealed[5] = dealt
            server.deliveries()


def test_a_made_up_device_is_refused() -> None:
    """A Sybil's keys are signed, but not by the key that the list has for its place."""
    group = Group.of(6, terms_of(3))
    stranger = ec.generate_private_key(ec.SECP384R1())
    sybil = offer_keys(group.terms, group.vectors[5], stranger).keys
    server = group.server(range(6))
    keys = {place: group.states[place].keys for place in range(6)} | {5: sybil}
    roster = SumRoster("0123abcd", 1, group.enrolled.digest, np.arange(6), ())
    digest = roster.digest(group.terms.digest)
    neighbours = server.graph.neighbours_of(0, seed=digest)
    question = encode_roster(
        dataclasses.replace(roster, keys=tuple(keys[place] for place in neighbours.tolist()))
    )
    with pytest.raises(SumRefused, match="device-00005 are not signed"):
        group.answer("deal", 0, question)


def test_a_device_that_is_not_on_the_list_is_refused_with_its_list() -> None:
    group, other = Group.of(6, terms_of(3)), Group.of(6, terms_of(3))
    with pytest.raises(SumRefused, match="another list"):
        group.answer("deal", 0, other.server(range(6)).rosters()[0])


def test_a_group_smaller_than_the_owner_allows_is_refused_at_every_step() -> None:
    group = Group.of(10, terms_of(3), rule=SumRule(least_group=10))
    nine = group.server(range(9))
    with pytest.raises(SumRefused, match="9 devices are in the group"):
        group.answer("deal", 0, nine.rosters()[0])
    server = group.server(range(10))
    for place, question in server.rosters().items():
        server.take_dealt(place, group.answer("deal", place, question))
    server._sealed.pop(9)
    with pytest.raises(SumRefused, match="9 devices have dealt"):
        group.answer("mask", 0, server.deliveries()[0])


def agreed_group(devices: int) -> tuple[Group, object]:
    """A group whose numbers are all at the server, before anything is revealed."""
    group = Group.of(devices, terms_of(3))
    server = group.server(range(devices))
    for step, asks, take in steps_of(server)[:2]:
        for place, question in asks().items():
            take(place, group.answer(step, place, question))
    return group, server


def test_a_device_signs_one_list_of_survivors_and_reveals_for_it_alone() -> None:
    group, server = agreed_group(10)
    honest = server.survivors()
    server.take_agreement(0, group.answer("agree", 0, honest[0]))
    lie = encode_survivors(SumSurvivors("0123abcd", 1, np.array([0, 1, 2, 3, 4, 5, 6, 7])))
    with pytest.raises(SumRefused, match="another list of survivors"):
        group.answer("agree", 0, lie)
    # Others signed the lie: their signatures are of no use to a device that has signed the truth.
    signatures = {}
    for place in range(1, 8):
        group.answer("agree", place, lie)
        signatures[place] = group.states[place].agree.answer
    neighbours = sorted(set(server._neighbours[0]) & signatures.keys())
    raw = [server_signature(group, place) for place in neighbours]
    question = encode_agreements(SumAgreements("0123abcd", 1, np.array(neighbours), tuple(raw)))
    with pytest.raises(SumRefused, match="0 neighbours have signed the same list"):
        group.answer("reveal", 0, question)


def server_signature(group: Group, place: int) -> bytes:
    from fedstill_proto.codec.sum_codec import decode_agreement

    return decode_agreement(group.states[place].agree.answer, run="0123abcd", round=1).signature


def test_late_numbers_stay_masked() -> None:
    """Of a device that is not in the sum, neighbours reveal its masks' key, and never its own mask's seed."""
    group, server = agreed_group(12)
    late = server._masked.pop(3)
    for step, asks, take in steps_of(server)[2:]:
        for place, question in asks().items():
            take(place, group.answer(step, place, question))
    opened = server.opened()
    np.testing.assert_array_equal(opened.steps, np.delete(group.vectors, 3, axis=0).sum(axis=0))
    # The server now takes the late numbers for a survivor's: what it has are the shares of another secret.
    server._masked[3] = late
    with pytest.raises(SumFailed, match="device-00003"):
        server.opened()


def test_one_share_of_each_neighbour_is_revealed_and_secrets_are_gone_afterwards() -> None:
    group, server = agreed_group(6)
    for step, asks, take in steps_of(server)[2:]:
        for place, question in asks().items():
            take(place, group.answer(step, place, question))
    state = group.states[0]
    assert len(decode_revealed(state.reveal.answer, run="0123abcd", round=1).shares) == len(
        server._neighbours[0]
    )
    assert [state.share_private, state.self_seed, state.mask_private, state.deal.answer] == [b""] * 4
    assert state.vector is None
    with pytest.raises(SumRefused):
        group.answer("agree", 0, encode_survivors(SumSurvivors("0123abcd", 1, np.arange(5))))


def test_a_share_that_was_altered_is_found() -> None:
    group, server = agreed_group(8)
    for step, asks, take in steps_of(server)[2:]:
        for place, question in asks().items():
            take(place, group.answer(step, place, question))
    server._revealed[1][0] = server._revealed[1][0] ^ 1
    with pytest.raises(SumFailed, match="device-00000"):
        server.opened()


def test_survivors_carry_the_noise_of_the_whole() -> None:
    terms = terms_of(3000, noise=SumNoise.SHARED, dropouts=0.3)
    group = Group.of(20, terms)
    server = group.server(range(20))
    run_steps(group, server, Dropouts(0.3, ["mask"], set(range(20))))
    opened = server.opened()
    noise = opened.steps - group.vectors[opened.members].sum(axis=0)
    parts = terms.summing.noise_parts(20)
    assert parts == 13  # of 14 survivors one may collude
    assert float(np.std(noise)) == pytest.approx(4096 * (14 / parts) ** 0.5, rel=0.06)
