from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SumKeys(_message.Message):
    __slots__ = ("mask_key", "share_key", "commitment", "signature")
    MASK_KEY_FIELD_NUMBER: _ClassVar[int]
    SHARE_KEY_FIELD_NUMBER: _ClassVar[int]
    COMMITMENT_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    mask_key: bytes
    share_key: bytes
    commitment: bytes
    signature: bytes
    def __init__(self, mask_key: _Optional[bytes] = ..., share_key: _Optional[bytes] = ..., commitment: _Optional[bytes] = ..., signature: _Optional[bytes] = ...) -> None: ...

class SumRoster(_message.Message):
    __slots__ = ("protocol_version", "run", "round", "enrolled", "members", "keys", "checksum")
    PROTOCOL_VERSION_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    ENROLLED_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    CHECKSUM_FIELD_NUMBER: _ClassVar[int]
    protocol_version: int
    run: str
    round: int
    enrolled: bytes
    members: bytes
    keys: _containers.RepeatedCompositeFieldContainer[SumKeys]
    checksum: int
    def __init__(self, protocol_version: _Optional[int] = ..., run: _Optional[str] = ..., round: _Optional[int] = ..., enrolled: _Optional[bytes] = ..., members: _Optional[bytes] = ..., keys: _Optional[_Iterable[_Union[SumKeys, _Mapping]]] = ..., checksum: _Optional[int] = ...) -> None: ...

class SumDealtShares(_message.Message):
    __slots__ = ("protocol_version", "run", "round", "sealed", "checksum")
    PROTOCOL_VERSION_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    SEALED_FIELD_NUMBER: _ClassVar[int]
    CHECKSUM_FIELD_NUMBER: _ClassVar[int]
    protocol_version: int
    run: str
    round: int
    sealed: bytes
    checksum: int
    def __init__(self, protocol_version: _Optional[int] = ..., run: _Optional[str] = ..., round: _Optional[int] = ..., sealed: _Optional[bytes] = ..., checksum: _Optional[int] = ...) -> None: ...

class SumDelivery(_message.Message):
    __slots__ = ("protocol_version", "run", "round", "members", "sealed", "checksum")
    PROTOCOL_VERSION_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    SEALED_FIELD_NUMBER: _ClassVar[int]
    CHECKSUM_FIELD_NUMBER: _ClassVar[int]
    protocol_version: int
    run: str
    round: int
    members: bytes
    sealed: bytes
    checksum: int
    def __init__(self, protocol_version: _Optional[int] = ..., run: _Optional[str] = ..., round: _Optional[int] = ..., members: _Optional[bytes] = ..., sealed: _Optional[bytes] = ..., checksum: _Optional[int] = ...) -> None: ...

class SumMaskedNumbers(_message.Message):
    __slots__ = ("protocol_version", "run", "round", "numbers", "checksum")
    PROTOCOL_VERSION_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    NUMBERS_FIELD_NUMBER: _ClassVar[int]
    CHECKSUM_FIELD_NUMBER: _ClassVar[int]
    protocol_version: int
    run: str
    round: int
    numbers: bytes
    checksum: int
    def __init__(self, protocol_version: _Optional[int] = ..., run: _Optional[str] = ..., round: _Optional[int] = ..., numbers: _Optional[bytes] = ..., checksum: _Optional[int] = ...) -> None: ...

class SumSurvivors(_message.Message):
    __slots__ = ("protocol_version", "run", "round", "members", "checksum")
    PROTOCOL_VERSION_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    CHECKSUM_FIELD_NUMBER: _ClassVar[int]
    protocol_version: int
    run: str
    round: int
    members: bytes
    checksum: int
    def __init__(self, protocol_version: _Optional[int] = ..., run: _Optional[str] = ..., round: _Optional[int] = ..., members: _Optional[bytes] = ..., checksum: _Optional[int] = ...) -> None: ...

class SumAgreement(_message.Message):
    __slots__ = ("protocol_version", "run", "round", "signature", "checksum")
    PROTOCOL_VERSION_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    CHECKSUM_FIELD_NUMBER: _ClassVar[int]
    protocol_version: int
    run: str
    round: int
    signature: bytes
    checksum: int
    def __init__(self, protocol_version: _Optional[int] = ..., run: _Optional[str] = ..., round: _Optional[int] = ..., signature: _Optional[bytes] = ..., checksum: _Optional[int] = ...) -> None: ...

class SumAgreements(_message.Message):
    __slots__ = ("protocol_version", "run", "round", "members", "signatures", "checksum")
    PROTOCOL_VERSION_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    SIGNATURES_FIELD_NUMBER: _ClassVar[int]
    CHECKSUM_FIELD_NUMBER: _ClassVar[int]
    protocol_version: int
    run: str
    round: int
    members: bytes
    signatures: bytes
    checksum: int
    def __init__(self, protocol_version: _Optional[int] = ..., run: _Optional[str] = ..., round: _Optional[int] = ..., members: _Optional[bytes] = ..., signatures: _Optional[bytes] = ..., checksum: _Optional[int] = ...) -> None: ...

class SumRevealedShares(_message.Message):
    __slots__ = ("protocol_version", "run", "round", "shares", "checksum")
    PROTOCOL_VERSION_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    SHARES_FIELD_NUMBER: _ClassVar[int]
    CHECKSUM_FIELD_NUMBER: _ClassVar[int]
    protocol_version: int
    run: str
    round: int
    shares: bytes
    checksum: int
    def __init__(self, protocol_version: _Optional[int] = ..., run: _Optional[str] = ..., round: _Optional[int] = ..., shares: _Optional[bytes] = ..., checksum: _Optional[int] = ...) -> None: ...

class StoredSum(_message.Message):
    __slots__ = ("protocol_version", "run", "round", "noise", "dropouts", "colluders", "clip", "noise_multiplier", "numbers", "checksum", "vector", "mask_private", "share_private", "self_seed", "keys", "roster", "dealt", "delivery", "masked", "survivors", "agreement", "agreements", "revealed", "held")
    PROTOCOL_VERSION_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    NOISE_FIELD_NUMBER: _ClassVar[int]
    DROPOUTS_FIELD_NUMBER: _ClassVar[int]
    COLLUDERS_FIELD_NUMBER: _ClassVar[int]
    CLIP_FIELD_NUMBER: _ClassVar[int]
    NOISE_MULTIPLIER_FIELD_NUMBER: _ClassVar[int]
    NUMBERS_FIELD_NUMBER: _ClassVar[int]
    CHECKSUM_FIELD_NUMBER: _ClassVar[int]
    VECTOR_FIELD_NUMBER: _ClassVar[int]
    MASK_PRIVATE_FIELD_NUMBER: _ClassVar[int]
    SHARE_PRIVATE_FIELD_NUMBER: _ClassVar[int]
    SELF_SEED_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    ROSTER_FIELD_NUMBER: _ClassVar[int]
    DEALT_FIELD_NUMBER: _ClassVar[int]
    DELIVERY_FIELD_NUMBER: _ClassVar[int]
    MASKED_FIELD_NUMBER: _ClassVar[int]
    SURVIVORS_FIELD_NUMBER: _ClassVar[int]
    AGREEMENT_FIELD_NUMBER: _ClassVar[int]
    AGREEMENTS_FIELD_NUMBER: _ClassVar[int]
    REVEALED_FIELD_NUMBER: _ClassVar[int]
    HELD_FIELD_NUMBER: _ClassVar[int]
    protocol_version: int
    run: str
    round: int
    noise: str
    dropouts: float
    colluders: float
    clip: float
    noise_multiplier: float
    numbers: int
    checksum: int
    vector: bytes
    mask_private: bytes
    share_private: bytes
    self_seed: bytes
    keys: SumKeys
    roster: bytes
    dealt: bytes
    delivery: bytes
    masked: bytes
    survivors: bytes
    agreement: bytes
    agreements: bytes
    revealed: bytes
    held: bytes
    def __init__(self, protocol_version: _Optional[int] = ..., run: _Optional[str] = ..., round: _Optional[int] = ..., noise: _Optional[str] = ..., dropouts: _Optional[float] = ..., colluders: _Optional[float] = ..., clip: _Optional[float] = ..., noise_multiplier: _Optional[float] = ..., numbers: _Optional[int] = ..., checksum: _Optional[int] = ..., vector: _Optional[bytes] = ..., mask_private: _Optional[bytes] = ..., share_private: _Optional[bytes] = ..., self_seed: _Optional[bytes] = ..., keys: _Optional[_Union[SumKeys, _Mapping]] = ..., roster: _Optional[bytes] = ..., dealt: _Optional[bytes] = ..., delivery: _Optional[bytes] = ..., masked: _Optional[bytes] = ..., survivors: _Optional[bytes] = ..., agreement: _Optional[bytes] = ..., agreements: _Optional[bytes] = ..., revealed: _Optional[bytes] = ..., held: _Optional[bytes] = ...) -> None: ...
