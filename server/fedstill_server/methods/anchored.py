"""What methods share whose devices say what examples look like to their students.

Students of mixed families have no features of one width and one meaning. A device compares those of an
example with those of a few public rows, the anchors (client: relative_features.py): cosines, as many as
anchors, whatever the family.
"""

from __future__ import annotations

from fedstill_proto.arrays import IntArray
from fedstill_proto.messages import MAX_ANCHORS

from fedstill_server.config.options import option
from fedstill_server.methods.interface import Method
from fedstill_server.methods.public_schedule import anchor_rows


class Anchored(Method):
    features = True
    anchors: int = option(
        32, "Public examples that features are compared with; at most all.", least=2, most=MAX_ANCHORS
    )

    @property
    def anchor_rows(self) -> IntArray:
        """The public rows that features are compared with, in every round the same, increasing."""
        return anchor_rows(self.config, len(self.public), self.anchors)

    @property
    def width(self) -> int:
        """Numbers in a relative feature: as many as there are anchors."""
        return len(self.anchor_rows)
