"""FedMD (Li and Wang 2019, arXiv 1910.03581): heterogeneous students that learn the mean of their own views.

The consensus of a public example is the plain mean over the M devices that answered,

    p(x) = 1/M sum_i p_i(x),

and every device distils from it while it trains on its own labels. Devices keep their own students, each of
its own family.

The paper averages class scores before any softmax; here soft labels at the plan's temperature are averaged,
which is the same to first order at a high temperature and leaves nothing unbounded on the wire. Its two
phases (digest the consensus, then revisit the private data) are one mixed step here.
"""

from __future__ import annotations

from fedstill_server.methods.public_consensus import PublicConsensus


class FedMD(PublicConsensus):
    line = "mean of the soft labels of public examples (Li and Wang 2019, arXiv 1910.03581)"
