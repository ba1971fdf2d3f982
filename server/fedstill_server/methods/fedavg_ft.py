"""FedAvg with fine-tuning: each device goes on from the average on its own examples, and answers with that.

The simplest way to make a student one's own, and a hard one to beat (Yu et al. 2020, "Salvaging federated
learning by local adaptation", arXiv 2002.04758): the average is what fedavg makes, and no byte more is sent.
"""

from __future__ import annotations

from fedstill_server.methods.fedavg import FedAvg


class FedAvgFineTuned(FedAvg):
    line = "fedavg, whose devices train the average on their own examples to answer their owner"
    personal_epochs = 20
    personal_soft_weight = 0.0
