"""The intents of an assistant's student."""

from __future__ import annotations

import math

from fedstill_proto.package.artifact import StudentPackage
from fedstill_proto.text.intents import IntentSchema


def intent_schema(package: StudentPackage) -> IntentSchema | None:
    """The intents of an assistant's student, in the order of its classes.

    Returns:
        The schema; None for a package of another kind of student.

    Raises:
        WireError: The package's intents.json is not one for its student.
    """
    if package.intents is None:
        return None
    manifest = package.manifest
    return IntentSchema.from_json(
        package.intents, classes=manifest.classes, places=math.prod(manifest.input_shape)
    )
