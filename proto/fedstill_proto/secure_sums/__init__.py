"""Sums that the server cannot open: what devices and server share of the protocol.

Every device of a group adds masks to its whole numbers that cancel out in the group's sum (Bonawitz et al.
2017, "Practical secure aggregation for privacy-preserving machine learning"), each with a few neighbours of a
graph (Bell et al. 2020, "Secure single-server aggregation with (poly)logarithmic overhead"). A round goes

    advertise   a device offers two fresh public keys, signed by its registered key, when its training ends
    deal        it splits two secrets among its neighbours, sealed for each of them
    mask        it sends its numbers, masked, to a server that says who has dealt
    reveal      of each neighbour it sends one of two shares: of who is in the sum, or of who is gone

and the server has the sum of those who came as far as `mask`, and nothing else. Who is behind the keys is in
the signed list of enrolled devices (enrolled.py).
"""
