"""Joules of a device's round by phase: training, answers, what it receives and what it sends.

- A radio that moves t megabits a second draws a t + b milliwatts (Huang et al. 2012, "A close examination of
  performance and power characteristics of 4G LTE networks", MobiSys, table 4), and goes on for a while after
  each transfer: the tail, 11.6 s of LTE at 1.06 W, and 0.24 s of WiFi at 0.12 W (ibid., table 3). So small
  messages over LTE cost the tail, whatever their bytes.
- Arithmetic is counted at 1 J a GFLOP: a phone's processor that draws 2 W and does 2 GFLOP a second in small
  networks. Accelerators take less by an order of magnitude and more (Almeida et al. 2021, arXiv 2109.13963,
  measure phones); it is a choice, and an option.
- Energy of devices alone: networks and servers are counted by Qiu et al. 2023 (arXiv 2102.07627), whose
  model of devices is the same: power times seconds.

Waking a device up, and what it draws anyway, is not counted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

PHASES = ("training", "answering", "down", "up")
JOULES_OF_A_WATT_HOUR = 3600.0

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Radio:
    """A radio's draw while it moves t megabits a second, a t + b, and what its tail costs.

    Attributes:
        up_mw_per_mbps: a of sending.
        down_mw_per_mbps: a of receiving.
        base_mw: b.
        tail_j: Joules after a transfer.
    """

    up_mw_per_mbps: float
    down_mw_per_mbps: float
    base_mw: float
    tail_j: float


# By the place of a network in fedstill_sim.traces.columns.NETWORKS: wifi, lte.
RADIOS = (
    Radio(up_mw_per_mbps=283.17, down_mw_per_mbps=137.01, base_mw=132.86, tail_j=0.2381 * 0.1193),
    Radio(up_mw_per_mbps=438.39, down_mw_per_mbps=51.97, base_mw=1288.04, tail_j=11.576 * 1.060),
)


@dataclass(frozen=True, kw_only=True)
class EnergyRule:
    """The coefficients that are choices.

    Attributes:
        joules_per_gflop: Of arithmetic.
        battery_wh: Watt-hours of a full battery.
    """

    joules_per_gflop: float = 1.0
    battery_wh: float = 15.0

    def computing_j(self, gflop: Floats) -> Floats:
        """Joules of arithmetic [devices]."""
        return self.joules_per_gflop * gflop

    def battery_share(self, joules: Floats) -> Floats:
        """Share of a full battery, 0 to 1 and beyond."""
        return joules / (self.battery_wh * JOULES_OF_A_WATT_HOUR)


def receiving_j(sizes: Floats, mbps: Floats, network: npt.NDArray[np.uint8], transfers: Floats) -> Floats:
    """Joules of receiving.

    Args:
        sizes: Bytes [devices].
        mbps: Megabits a second [devices].
        network: Places in RADIOS [devices].
        transfers: How many transfers the bytes came in [devices].
    """
    return _moving_j("down_mw_per_mbps", sizes, mbps, network, transfers)


def sending_j(sizes: Floats, mbps: Floats, network: npt.NDArray[np.uint8], transfers: Floats) -> Floats:
    """Joules of sending; as for receiving_j."""
    return _moving_j("up_mw_per_mbps", sizes, mbps, network, transfers)


def _moving_j(
    slope: str, sizes: Floats, mbps: Floats, network: npt.NDArray[np.uint8], transfers: Floats
) -> Floats:
    slopes = np.array([getattr(radio, slope) for radio in RADIOS])[network]
    base = np.array([radio.base_mw for radio in RADIOS])[network]
    tails = np.array([radio.tail_j for radio in RADIOS])[network]
    seconds = sizes * 8 / 1e6 / mbps
    return np.asarray(seconds * (slopes * mbps + base) / 1000 + tails * transfers)
