"""The server: fedstill's rounds, with a teacher that learns from the fleet's consensus."""

from __future__ import annotations

import fedstill as fs
from flower_app.task import Net, public_set, test_set

app = fs.flower.ServerApp(Net, public=public_set, test=test_set)
