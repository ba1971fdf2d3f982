"""What a device says to Flower's Fleet API is what the installed Flower reads."""

from __future__ import annotations

from base64 import b64decode

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from fedstill_proto.system.fleet_http import signed_headers
from fedstill_proto.v1 import fleet_pb2
from flwr.common.constant import TIMESTAMP_HEADER
from flwr.proto import fleet_pb2 as flower_fleet
from flwr.proto import heartbeat_pb2, message_pb2, node_pb2, run_pb2
from flwr.supercore.constant import FLEET_HTTP_PUBLIC_KEY_HEADER, FLEET_HTTP_SIGNATURE_HEADER
from flwr.supercore.primitives.asymmetric import verify_signature
from flwr.supercore.runtime_version_compatibility import RuntimeVersionMetadata
from google.protobuf.descriptor import FieldDescriptor

FLOWERS = (flower_fleet, heartbeat_pb2, message_pb2, node_pb2, run_pb2)
OURS = fleet_pb2.DESCRIPTOR.message_types_by_name


def shape(field: FieldDescriptor) -> tuple[str, int, int, bool]:
    return field.name, field.number, field.type, field.is_repeated


@pytest.mark.parametrize("name", OURS)
def test_each_message_has_flowers_names_numbers_and_types(name: str) -> None:
    flowers = next(
        found for module in FLOWERS if (found := module.DESCRIPTOR.message_types_by_name.get(name))
    )
    assert {shape(field) for field in OURS[name].fields} <= {shape(field) for field in flowers.fields}


def test_what_is_beside_our_part_of_a_message_travels_along() -> None:
    metadata = message_pb2.Metadata(run_id=3, ttl=2.5, group_id="g")
    given = message_pb2.Message(metadata=metadata).SerializeToString()

    ours = fleet_pb2.Message.FromString(given)

    assert ours.metadata.run_id == 3
    assert message_pb2.Message.FromString(ours.SerializeToString()).metadata.ttl == 2.5


def test_requests_are_signed_as_flower_checks_them() -> None:
    key = ec.generate_private_key(ec.SECP384R1())

    headers = signed_headers(key)

    assert {FLEET_HTTP_PUBLIC_KEY_HEADER, FLEET_HTTP_SIGNATURE_HEADER, TIMESTAMP_HEADER} < headers.keys()
    signature = b64decode(headers[FLEET_HTTP_SIGNATURE_HEADER])
    assert verify_signature(key.public_key(), headers[TIMESTAMP_HEADER].encode(), signature)
    expected = RuntimeVersionMetadata.from_local_component("SuperNode").as_metadata()
    assert set(expected) < set(headers.items())
