"""A generator of traces: nights on the charger, evenings online, weekends, time zones, churn and spread.

What the numbers are taken from:

- Devices take part while they are idle, charging and on an unmetered network; of a fleet in one country, four
  times as many do at night as by day (Bonawitz et al. 2019, arXiv 1902.01046, section 9). A test holds the
  defaults to that swing.
- Availability and speed by device differ widely, and decide how long rounds take (Yang et al. 2021, arXiv
  2006.06983, of 136,000 phones; FedScale, Lai et al. 2021, arXiv 2105.11367).
- People charge at night, from about 23:00 to 7:00, and now and then for half an hour by day (Ferreira et al.
  2011, a study of 4,000 phones; LiveLab, Shepard et al. 2011).
- Phones' speeds in inference spread over more than an order of magnitude (AI Benchmark, Ignatov et al. 2019,
  arXiv 1910.06663), and times of training over two (Papaya, Huba et al. 2022, arXiv 2111.04877).
- Of LTE, the median is 13 Mbit/s down and 6 Mbit/s up (Huang et al. 2012, MobiSys); those of WiFi in homes
  are set to the same, and the spread follows MobiPerf's measurements as FedScale reports them: more than an
  order of magnitude.

Shapes and magnitudes are those of the sources; where a source gives no parameter, the default is a choice,
and an option.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from fedstill_proto.arrays import IntArray
from fedstill_server.config.codec import ConfigError
from fedstill_server.config.options import check_options, option
from fedstill_server.config.run_options import read_settings
from fedstill_server.randomness import generator

from fedstill_sim.traces.columns import DAY_S, FleetTrace, Floats, Mask

GENERATED = "generated"
_PANEL = "The generator"
_HOUR_S = 3600.0
_SHORTEST_S = 60.0  # of a session
_WEEKEND = (4, 5)  # the nights of Friday and Saturday, counted from Monday
_MONTH_DAYS = 30.0


@dataclass(frozen=True, kw_only=True)
class TraceGenerator:
    """What a generated fleet is like. Hours are those of each device's own clock."""

    days: int = option(
        7, "Days of the trace, which repeats after them; whole weeks keep weekends.", least=1, panel=_PANEL
    )
    zones: tuple[str, ...] = option(
        ("-8", "-7", "-6", "-5"),
        "Hours from UTC that devices are dealt out to at random; by default those of the United States.",
        panel=_PANEL,
    )
    bedtime: float = option(
        23.0, "The mean hour at which a device is plugged in for the night.", least=12, most=30, panel=_PANEL
    )
    wake: float = option(7.0, "The mean hour at which it is unplugged.", least=1, most=12, panel=_PANEL)
    people_spread: float = option(
        1.0,
        "How much these hours differ between people: a standard deviation.",
        least=0,
        most=3,
        panel=_PANEL,
    )
    night_spread: float = option(
        0.7, "How much they differ between one person's nights.", least=0, most=3, panel=_PANEL
    )
    weekend_shift: float = option(
        1.0, "Hours that the nights of Friday and Saturday are later.", least=-3, most=4, panel=_PANEL
    )
    night_share: float = option(
        0.7, "Share of nights for which a device is plugged in, on average.", least=0, most=1, panel=_PANEL
    )
    top_ups: float = option(2.0, "Charges by day, on average.", least=0, most=10, panel=_PANEL)
    top_up_minutes: float = option(90.0, "How long they take: the median.", above=0, most=600, panel=_PANEL)
    evening_share: float = option(
        0.6,
        "Share of evenings that a device spends online without charging, for what may run then.",
        least=0,
        most=1,
        panel=_PANEL,
    )
    churn: float = option(
        0.05,
        "Share of the devices that leave for good, and of those that join, in 30 days.",
        least=0,
        below=1,
        panel=_PANEL,
    )
    gflops: float = option(
        2.0, "Arithmetic of the median device in training, in GFLOP a second.", above=0, panel=_PANEL
    )
    speed_spread: float = option(
        0.7, "How much speeds differ: standard deviation of the logarithm.", least=0, most=3, panel=_PANEL
    )
    down_mbps: float = option(
        13.0, "Megabits a second that the median device receives.", above=0, panel=_PANEL
    )
    up_mbps: float = option(6.0, "Megabits a second that it sends.", above=0, panel=_PANEL)
    network_spread: float = option(
        1.0, "How much these differ: standard deviation of the logarithm.", least=0, most=3, panel=_PANEL
    )
    wifi_share: float = option(
        0.85, "Share of devices on WiFi; the others are on LTE.", least=0, most=1, panel=_PANEL
    )

    def __post_init__(self) -> None:
        check_options(self, texts=True)
        _ = self.zone_hours
        if self.wake + 24 - self.bedtime <= 0.5:
            raise ConfigError(
                f"wake: {self.wake:g} is not after bedtime {self.bedtime:g}; name hours with a night between"
            )

    @property
    def zone_hours(self) -> Floats:
        """The zones as numbers."""
        hours = []
        for zone in self.zones:
            try:
                hours.append(float(zone))
            except ValueError:
                raise ConfigError(f"zones: {zone!r} is not an offset from UTC in hours, such as -5") from None
            if not -12 <= hours[-1] <= 14:
                raise ConfigError(f"zones: {zone!r} is not an offset from UTC between -12 and 14 hours")
        if not hours:
            raise ConfigError("zones: none is named; name at least one, such as 0")
        return np.array(hours)

    def generate(self, devices: int, *, seed: int) -> FleetTrace:
        """Draw a fleet of so many devices; the same seed draws the same."""
        draw = generator(seed, 0, "trace/generated")
        zones = draw.choice(self.zone_hours, devices)
        joined, left = self._churn(devices, draw)
        owners, start, end, charging = self._sessions(zones, draw)
        owners, start, end, charging = _within(owners, start, end, charging, span_s=self.span_s)
        owners, start, end, charging = _apart(owners, start, end, charging, span_s=self.span_s)
        network = (draw.random(devices) >= self.wifi_share).astype(np.uint8)
        shared = draw.normal(size=devices)  # who receives fast mostly sends fast
        return FleetTrace(
            names=tuple(f"device-{number:0{len(str(devices - 1))}d}" for number in range(devices)),
            span_s=self.span_s,
            offsets=np.concatenate([[0], np.cumsum(np.bincount(owners, minlength=devices))]).astype(np.int64),
            start_s=start,
            end_s=end,
            charging=charging,
            gflops=self.gflops * np.exp(self.speed_spread * draw.normal(size=devices)),
            down_mbps=self.down_mbps * np.exp(self.network_spread * shared),
            up_mbps=self.up_mbps
            * np.exp(self.network_spread * (0.8 * shared + 0.6 * draw.normal(size=devices))),
            network=network,
            zone_h=zones,
            joined_s=joined,
            left_s=left,
        )

    @property
    def span_s(self) -> float:
        """Seconds of the trace."""
        return self.days * DAY_S

    def _churn(self, devices: int, draw: np.random.Generator) -> tuple[Floats, Floats]:
        """When devices join and leave: as many join as leave, while the trace lasts for the first time."""
        rate = -np.log1p(-self.churn) / (_MONTH_DAYS * DAY_S)
        if rate == 0:
            return np.zeros(devices), np.full(devices, np.inf)
        late = draw.random(devices) < -np.expm1(-rate * self.span_s)
        joined = np.where(late, draw.random(devices) * self.span_s, 0.0)
        return joined, joined + draw.exponential(1 / rate, devices)

    def _sessions(self, zones: Floats, draw: np.random.Generator) -> tuple[IntArray, Floats, Floats, Mask]:
        """(device, start, end, whether charging) of all sessions, in no order and not yet in the span."""
        devices = len(zones)
        shape = (self.days, devices)
        later = np.array([self.weekend_shift if day % 7 in _WEEKEND else 0.0 for day in range(self.days)])
        own = draw.normal(scale=self.people_spread, size=(2, devices))
        midnight = np.arange(self.days)[:, None] * 24.0 - zones
        bed = (
            midnight
            + self.bedtime
            + own[0]
            + later[:, None]
            + draw.normal(scale=self.night_spread, size=shape)
        )
        wake = (
            midnight
            + 24
            + self.wake
            + own[1]
            + later[:, None]
            + draw.normal(scale=self.night_spread, size=shape)
        )
        # Some people plug in each night, some now and then: shares by person are Beta distributed.
        share = np.full(devices, self.night_share)
        if 0 < self.night_share < 1:
            share = draw.beta(4 * self.night_share, 4 * (1 - self.night_share), devices)
        plugged = (draw.random(shape) < share) & (wake - bed > 0.25)
        numbers = np.broadcast_to(np.arange(devices), shape)
        nights = (numbers[plugged], bed[plugged], wake[plugged], np.ones(int(plugged.sum()), np.bool_))

        evening = draw.random(shape) < self.evening_share
        home = bed - np.abs(draw.normal(4.0, 1.5, shape))
        evenings = (numbers[evening], home[evening], bed[evening], np.zeros(int(evening.sum()), np.bool_))

        counts = draw.poisson(self.top_ups, shape)
        repeated = np.repeat(numbers.ravel(), counts.ravel())
        awake_from, awake_to = wake - 24, bed
        begins = np.repeat(awake_from.ravel(), counts.ravel())
        room = np.repeat(np.maximum(awake_to - awake_from, 1.0).ravel(), counts.ravel())
        begins = begins + room * draw.random(len(repeated))
        lasts = self.top_up_minutes / 60 * np.exp(0.6 * draw.normal(size=len(repeated)))
        top_ups = (repeated, begins, begins + lasts, np.ones(len(repeated), np.bool_))

        parts = (nights, top_ups, evenings)
        owners = np.concatenate([part[0] for part in parts])
        start = np.concatenate([part[1] for part in parts]) * _HOUR_S
        end = np.concatenate([part[2] for part in parts]) * _HOUR_S
        return owners, np.rint(start), np.rint(end), np.concatenate([part[3] for part in parts])


def _within(
    owners: IntArray, start: Floats, end: Floats, charging: Mask, *, span_s: float
) -> tuple[IntArray, Floats, Floats, Mask]:
    """Move sessions into the span; one that goes beyond its end goes on at its beginning."""
    lasts = np.minimum(end - start, span_s)
    start = start % span_s
    end = start + lasts
    over = end > span_s
    return (
        np.concatenate([owners, owners[over]]),
        np.concatenate([start, np.zeros(int(over.sum()))]),
        np.concatenate([np.minimum(end, span_s), end[over] - span_s]),
        np.concatenate([charging, charging[over]]),
    )


def _apart(
    owners: IntArray, start: Floats, end: Floats, charging: Mask, *, span_s: float
) -> tuple[IntArray, Floats, Floats, Mask]:
    """Sort sessions by device and time; where two overlap, charging counts, else the earlier one."""
    parts = []
    covered: tuple[IntArray, Floats, Floats] | None = None
    for kind in (True, False):
        of_kind = charging == kind
        own, begins, ends = owners[of_kind], start[of_kind], end[of_kind]
        if covered is not None and len(own):
            begins, ends = _outside(own, begins, ends, covered, span_s=span_s)
        base = own * (span_s + 1)
        order = np.argsort(base + begins, kind="stable")
        own, begins, ends, base = own[order], begins[order], ends[order], base[order]
        if len(own):
            reached = np.maximum.accumulate(base + ends) - base
            earlier = np.concatenate([[-1.0], reached[:-1]])
            earlier[1:][own[1:] != own[:-1]] = -1.0
            begins = np.maximum(begins, earlier)
        kept = ends - begins >= _SHORTEST_S
        own, begins, ends = own[kept], begins[kept], ends[kept]
        parts.append((own, begins, ends, np.full(len(own), kind)))
        covered = own, begins, ends
    owners, start, end, charging = (np.concatenate([part[place] for part in parts]) for place in range(4))
    order = np.argsort(owners * (span_s + 1) + start, kind="stable")
    return owners[order], start[order], end[order], charging[order]


def _outside(
    own: IntArray, begins: Floats, ends: Floats, covered: tuple[IntArray, Floats, Floats], *, span_s: float
) -> tuple[Floats, Floats]:
    """Cut sessions at the first covered time that they meet."""
    owners, start, end = covered
    keys = owners * (span_s + 1) + start
    place = np.searchsorted(keys, own * (span_s + 1) + begins, side="right")
    before = np.maximum(place - 1, 0)
    inside = (place > 0) & (owners[before] == own) & (end[before] > begins)
    begins = np.where(inside, end[before], begins)
    place = np.searchsorted(keys, own * (span_s + 1) + begins, side="left")
    after = np.minimum(place, len(owners) - 1)
    meets = (place < len(owners)) & (owners[after] == own) & (start[after] < ends)
    return begins, np.where(meets, start[after], ends)


def parse_generator(text: str, *, where: str) -> TraceGenerator:
    """The generator that "generated" or "generated:churn=0.1,zones=0/1" stands for.

    Raises:
        ConfigError: It names an option that there is not, or a value that cannot be.
    """
    _, _, words = text.partition(":")
    given: dict[str, Any] = read_settings((word for word in words.split(",") if word.strip()), where=where)
    known = [field.name for field in fields(TraceGenerator)]
    for name in given:
        if name not in known:
            raise ConfigError(
                f"{where}: {name!r} is no option of the generator; there are {', '.join(known)}"
            )
    given = {name: value.replace("/", ",") for name, value in given.items()}
    try:
        return TraceGenerator(**given)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
