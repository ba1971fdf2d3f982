"""What device and server share of differential privacy: clipping onto a grid, discrete noise, accounting.

A released vector is clipped to an L2 norm and rounded onto a grid of whole numbers; noise of whole numbers is
added. All of it is integer arithmetic, so that no rounding of floating point reveals anything about the data
(Mironov 2012, "On significance of the least significant bits for differential privacy").
"""

from fedstill_proto.privacy.discrete_gaussian import SIGMA_STEPS, discrete_gaussian
from fedstill_proto.privacy.noising import Noising
from fedstill_proto.privacy.random_bits import RandomBits, seeded_bits, system_bits
from fedstill_proto.privacy.shared_noise import divergence_bound, shared_rho
from fedstill_proto.privacy.zcdp import epsilon_of_rho, rho_of_epsilon

__all__ = [
    "SIGMA_STEPS",
    "Noising",
    "RandomBits",
    "discrete_gaussian",
    "divergence_bound",
    "epsilon_of_rho",
    "rho_of_epsilon",
    "seeded_bits",
    "shared_rho",
    "system_bits",
]
