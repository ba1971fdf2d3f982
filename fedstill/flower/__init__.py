"""fedstill in a Flower project of one's own: both apps, with torch clients.

    # server_app.py
    app = fs.flower.ServerApp(Net, public=load_public, method="fedstill", rounds=10)

    # client_app.py
    app = fs.flower.ClientApp(Net, data=load_partition, classes=10, public=load_public)

Both sides speak the protocol of every fedstill fleet: agents without torch can take part, too.
"""

from __future__ import annotations

from fedstill.flower.client import ClientApp, TorchClient
from fedstill.flower.server import DistillationServer, LearnedFleet, ServerApp
from fedstill.flower.training import LocalTraining

__all__ = ["ClientApp", "DistillationServer", "LearnedFleet", "LocalTraining", "ServerApp", "TorchClient"]
