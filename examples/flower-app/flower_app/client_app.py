"""A device: trains the network by our own code, and answers with soft labels instead of weights."""

from __future__ import annotations

import fedstill as fs
from flower_app.task import CLASSES, Net, load_partition, public_set, test_set, train

app = fs.flower.ClientApp(
    Net, data=load_partition, classes=CLASSES, public=public_set, test=test_set, train=train
)
