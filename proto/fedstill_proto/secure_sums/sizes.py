"""How large keys, signatures and numbers of a sum are: what messages know of them, without cryptography."""

from __future__ import annotations

from fedstill_proto.errors import InvalidValue

KEY_BYTES = 32  # of X25519
SIGNATURE_BYTES = 96  # of ECDSA over P-384, r and s side by side
MOST_BITS = 32


def bits_for(members: int, most: int) -> int:
    """The bits of a number of the sum over so many members, each of whose numbers is in -most .. most.

    Raises:
        InvalidValue: The sum does not fit.
    """
    bits = (2 * members * most).bit_length()
    if bits > MOST_BITS:
        raise InvalidValue("members", f"{members} of up to {most} steps do not fit into {MOST_BITS} bits")
    return bits
