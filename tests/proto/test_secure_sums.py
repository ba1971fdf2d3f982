from __future__ import annotations

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from fedstill_proto.codec import sum_codec
from fedstill_proto.errors import InvalidValue, WireError
from fedstill_proto.privacy import Noising, discrete_gaussian, divergence_bound, seeded_bits, shared_rho
from fedstill_proto.secure_sums import masks, sealing, shamir
from fedstill_proto.secure_sums.enrolled import EnrolledDevice, EnrolledDevices, is_signed, sign
from fedstill_proto.secure_sums.graph import SumGraph
from fedstill_proto.secure_sums.messages import RevealedShares, SumAgreements, SumDelivery, SumKeys, SumRoster
from fedstill_proto.secure_sums.sizes import bits_for
from fedstill_proto.secure_sums.terms import Summing, SumNoise, SumTerms

SECRET = bytes(range(32))
ROSTER = b"r" * 32


def places(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


def test_as_many_shares_as_the_threshold_open_a_secret() -> None:
    shares = shamir.split(SECRET, places(1, 2, 5, 9), threshold=3)
    for holders in ([0, 1, 2], [0, 2, 3], [1, 2, 3]):
        assert shamir.join(places(1, 2, 5, 9)[holders], shares[holders]) == SECRET


def test_one_share_less_says_nothing() -> None:
    """Any secret fits to threshold - 1 shares: another share of one's choice makes it come out."""
    shares = shamir.split(SECRET, places(1, 2), threshold=2)[:1]
    first_chunk = set()
    for guess in range(200):
        other = np.full((1, shamir.CHUNKS), guess, np.uint16)
        weights = shamir._lagrange_at_zero(places(1, 2))
        first_chunk.add(int((weights @ np.concatenate([shares, other]).astype(np.int64) % shamir.PRIME)[0]))
    assert len(first_chunk) == 200


def test_a_line_through_two_shares_is_at_zero_what_one_computes_by_hand() -> None:
    """f(1) = 3, f(2) = 5: f(0) = 1, in every chunk."""
    shares = np.array([[3] * shamir.CHUNKS, [5] * shamir.CHUNKS], np.uint16)
    shares[:, 0] = 0  # the chunk of the highest bits: the secret has 256, and 18 x 15 are 270
    number = int.from_bytes(shamir.join(places(1, 2), shares), "big")
    assert number == sum(1 << (15 * place) for place in range(shamir.CHUNKS - 1))


@pytest.mark.parametrize("bad", [places(0, 1), places(1, 1), places(1, shamir.PRIME)])
def test_places_that_no_share_can_have(bad: np.ndarray) -> None:
    with pytest.raises(InvalidValue, match="places"):
        shamir.split(SECRET, bad, threshold=2)


def test_shares_that_belong_to_no_secret_are_refused() -> None:
    """f(1) = 0 and f(2) = 1: f(0) = -1, which is 65520 and no chunk of 15 bits."""
    shares = np.array([[0] * shamir.CHUNKS, [1] * shamir.CHUNKS], np.uint16)
    with pytest.raises(InvalidValue, match="one secret"):
        shamir.join(places(1, 2), shares)


def test_masks_of_a_pair_cancel_out() -> None:
    private = [masks.private_key(secret) for secret in (b"a" * 32, b"b" * 32)]
    public = [masks.public_key(key) for key in private]
    seeds = {
        masks.mask_seed(private[0], public[1], roster=ROSTER, pair=(3, 7)),
        masks.mask_seed(private[1], public[0], roster=ROSTER, pair=(7, 3)),
    }
    assert len(seeds) == 1
    numbers = [np.array([5, -6, 0], np.int64), np.array([-7, 2, 1], np.int64)]
    bits = bits_for(2, 7)
    assert bits == 5  # of -14 .. 14
    sent = masks.masked(numbers[0], seeds, [], bits=bits) + masks.masked(numbers[1], [], seeds, bits=bits)
    assert masks.unmasked(sent, bits=bits).tolist() == [-2, -4, 1]


def test_another_group_or_pair_has_other_masks() -> None:
    public = masks.public_key(masks.private_key(b"b" * 32))
    seeds = {
        masks.mask_seed(masks.private_key(b"a" * 32), public, roster=roster, pair=pair)
        for roster, pair in ((ROSTER, (1, 2)), (b"s" * 32, (1, 2)), (ROSTER, (1, 3)))
    }
    assert len(seeds) == 3


def test_numbers_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InvalidValue, match="do not fit into 32 bits"):
        bits_for(1 << 14, 1 << 18)


def test_a_public_key_without_a_secret_is_refused() -> None:
    with pytest.raises(InvalidValue, match="public_key"):
        masks.agreed_seed(masks.private_key(b"a" * 32), bytes(32), about=b"")


@pytest.mark.parametrize("bits", [1, 5, 8, 21, 32])
def test_packed_numbers_come_back(bits: int) -> None:
    values = np.random.default_rng(bits).integers(0, 1 << bits, 13, dtype=np.uint32)
    packed = masks.pack(values, bits=bits)
    assert len(packed) == -(-13 * bits // 8)
    np.testing.assert_array_equal(masks.unpack(packed, 13, bits=bits), values)
    with pytest.raises(InvalidValue):
        masks.unpack(packed + b"\0", 13, bits=bits)


def test_neighbours_are_mutual_and_as_many_as_the_graph_says() -> None:
    graph = SumGraph.of(300, dropouts=0.2, colluders=0.05)
    assert graph.neighbours < 299
    neighbours = [set(graph.neighbours_of(place, seed=ROSTER).tolist()) for place in range(300)]
    assert {len(own) for own in neighbours} == {graph.neighbours}
    assert all(place in neighbours[other] for place, own in enumerate(neighbours) for other in own)
    assert set(graph.neighbours_of(0, seed=b"s" * 32).tolist()) != neighbours[0]


@pytest.mark.parametrize("members", [10, 100, 1000])
def test_no_lie_opens_a_device_where_a_threshold_allows_for_dropouts(members: int) -> None:
    graph = SumGraph.of(members, dropouts=0.3, colluders=0.05)
    assert graph.withstands_lies
    assert 2 * graph.threshold > graph.neighbours
    assert graph.threshold <= 0.7 * graph.neighbours


def test_a_sum_that_survives_more_dropouts_withstands_curiosity_alone() -> None:
    assert not SumGraph.of(100, dropouts=0.7, colluders=0.05).withstands_lies
    with pytest.raises(InvalidValue, match="no number of shares is safe"):
        SumGraph.of(10, dropouts=0.8, colluders=0.3)


def test_sealed_shares_open_for_the_neighbour_alone() -> None:
    dealer, holder = masks.private_key(b"a" * 32), masks.private_key(b"b" * 32)
    shares = shamir.split(SECRET, places(1, 2), threshold=2)
    way = {"roster": ROSTER, "way": (1, 2)}
    sealed = sealing.seal(shares, dealer, masks.public_key(holder), **way)
    assert len(sealed) == sealing.SEALED_BYTES
    opened = sealing.open_sealed_shares(sealed, holder, masks.public_key(dealer), **way)
    np.testing.assert_array_equal(opened, shares)
    for wrong in ({**way, "way": (2, 1)}, {**way, "roster": b"s" * 32}):
        with pytest.raises(InvalidValue, match="sealed"):
            sealing.open_sealed_shares(sealed, holder, masks.public_key(dealer), **wrong)


def registered(name: str) -> tuple[ec.EllipticCurvePrivateKey, EnrolledDevice]:
    key = ec.generate_private_key(ec.SECP384R1())
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    return key, EnrolledDevice(name, public)


def test_the_list_of_devices_comes_back_and_finds_a_device_by_its_key() -> None:
    (key, kitchen), (_, attic) = registered("kitchen"), registered("attic")
    devices = EnrolledDevices.of([kitchen, attic], version=3)
    again = EnrolledDevices.from_bytes(devices.to_bytes())
    assert again == devices
    assert again.digest == devices.digest
    assert devices.place_of(kitchen.public_key) == 1  # after the attic
    assert devices.place_of("ecdsa-sha2-nistp384 other") is None
    signature = sign(key, b"statement")
    assert is_signed(kitchen.public_key, signature, b"statement")
    assert not is_signed(kitchen.public_key, signature, b"another")
    assert not is_signed(attic.public_key, signature, b"statement")


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b'{"format":1}', b'{"format":1,"version":1,"devices":[["b","k"],["a","l"]]}', b"\xff"],
)
def test_a_list_that_is_none_is_refused(content: bytes) -> None:
    with pytest.raises(WireError):
        EnrolledDevices.from_bytes(content)


def test_two_devices_have_not_one_key() -> None:
    with pytest.raises(InvalidValue, match="one key"):
        EnrolledDevices.of([EnrolledDevice("a", "key"), EnrolledDevice("b", "key")], version=1)


KEYS = SumKeys(b"m" * 32, b"s" * 32, b"c" * 32, b"x" * 96)


def test_messages_come_back_and_no_bit_of_them_may_be_another() -> None:
    roster = SumRoster("run", 2, b"e" * 32, places(0, 3, 9), (KEYS, KEYS))
    blob = sum_codec.encode_roster(roster)
    again = sum_codec.decode_roster(blob, run="run", round=2)
    assert again.members.tolist() == [0, 3, 9]
    assert again.keys == (KEYS, KEYS)
    for at in range(0, len(blob), 7):
        damaged = blob[:at] + bytes([blob[at] ^ 16]) + blob[at + 1 :]
        with pytest.raises(WireError):
            sum_codec.decode_roster(damaged, run="run", round=2)
    for run, number in (("other", 2), ("run", 3)):
        with pytest.raises(WireError, match="expected"):
            sum_codec.decode_roster(blob, run=run, round=number)


def test_what_was_sealed_signed_and_revealed_comes_back() -> None:
    delivery = SumDelivery("run", 1, places(1, 2), (b"z" * sealing.SEALED_BYTES,))
    assert (
        sum_codec.decode_delivery(sum_codec.encode_delivery(delivery), run="run", round=1).sealed
        == delivery.sealed
    )
    signed = SumAgreements("run", 1, places(4), (b"y" * 96,))
    assert (
        sum_codec.decode_agreements(sum_codec.encode_agreements(signed), run="run", round=1).signatures
        == signed.signatures
    )
    revealed = RevealedShares("run", 1, np.full((2, shamir.CHUNKS), 65520, np.uint16))
    blob = sum_codec.encode_revealed(revealed)
    np.testing.assert_array_equal(sum_codec.decode_revealed(blob, run="run", round=1).shares, revealed.shares)
    with pytest.raises(InvalidValue, match="below"):
        RevealedShares("run", 1, np.full((1, shamir.CHUNKS), 65521, np.uint16))


def test_parts_of_noise_add_up_to_the_noise_of_one() -> None:
    parts = 100
    total = sum(discrete_gaussian(2000, bits=seeded_bits(0, part), parts=parts) for part in range(parts))
    assert abs(float(np.std(total)) / 4096 - 1) < 0.05


def test_shared_noise_costs_what_central_noise_costs() -> None:
    noising = Noising(1.0, 2.0)
    assert shared_rho(noising, parts=1, numbers=10) == pytest.approx(1 / 8)
    assert divergence_bound(10_000) == 0  # below what a float can hold
    assert shared_rho(noising, parts=10_000, numbers=10_000) == pytest.approx(1 / 8)
    # Where parts are hardly wider than a step, it does cost: sigma^2 = 1, 10 (m - 1) exp(-pi^2).
    assert divergence_bound(4096**2) == pytest.approx(10 * (4096**2 - 1) * np.exp(-(np.pi**2)))


def test_the_noise_is_whole_with_the_least_honest_survivors() -> None:
    summing = Summing(noise=SumNoise.SHARED, dropouts=0.2, colluders=0.05)
    assert summing.least_survivors(100) == 80
    assert summing.noise_parts(100) == 76


def test_terms_that_differ_are_told_apart() -> None:
    terms = SumTerms(
        run="run",
        round=1,
        summing=Summing(noise=SumNoise.NONE),
        noising=Noising(1, 2),
        numbers=5,
    )
    others = [
        SumTerms(**{**vars(terms), **change})
        for change in (
            {"round": 2},
            {"numbers": 6},
            {"noising": Noising(1, 1)},
            {"summing": Summing(noise=SumNoise.OWN)},
        )
    ]
    assert len({each.digest for each in (terms, *others)}) == 5
    assert terms.bits(10) == (2 * 10 * 1024).bit_length()
