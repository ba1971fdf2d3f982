"""`FleetTrace`: a fleet's devices as columns, and `Windows`: when each of them may be asked.

Times are seconds since the trace begins, a Monday at 0:00 UTC. A trace's sessions repeat after its span, as
those of FedScale's traces do (Lai et al. 2021, arXiv 2105.11367); who joins late or leaves does so once.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from fedstill_proto.arrays import IntArray
from fedstill_server.randomness import generator

DAY_S = 86_400.0
CHARGING, ONLINE = WHEN = ("charging", "online")
"""When a device may be asked: while it is plugged in, or in any session."""
FAIL, RESUME = INTERRUPTED = ("fail", "resume")
"""What becomes of the work of a device whose session ends."""
NETWORKS = ("wifi", "lte")

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Windows:
    """The times at which devices may be asked; those of one device do not overlap, and rise.

    Attributes:
        span_s: Seconds after which the windows repeat.
        offsets: Where each device's windows begin in the columns, and where the last one's end [devices + 1].
        start_s: When a window opens [windows].
        end_s: When it closes [windows], at the span's end at the latest.
        joined_s: When a device joins the fleet [devices].
        left_s: When it leaves for ever [devices]; infinite where it stays.
    """

    span_s: float
    offsets: IntArray
    start_s: Floats
    end_s: Floats
    joined_s: Floats
    left_s: Floats

    @property
    def devices(self) -> int:
        """How many devices there are."""
        return len(self.offsets) - 1

    @functools.cached_property
    def _owners(self) -> IntArray:
        return np.repeat(np.arange(self.devices), np.diff(self.offsets))

    @functools.cached_property
    def _keys(self) -> Floats:
        """Starts of all devices in one rising order: a search for a device's second finds its window."""
        return np.asarray(self._owners * self._stride + self.start_s)

    @functools.cached_property
    def _stride(self) -> float:
        return self.span_s + 1.0

    @functools.cached_property
    def _before(self) -> Floats:
        """Seconds of a device's windows before each of them [windows]."""
        running = np.concatenate([[0.0], np.cumsum(self.end_s - self.start_s)])
        return np.asarray(running[:-1] - running[self.offsets[self._owners]])

    @functools.cached_property
    def total_s(self) -> Floats:
        """Seconds of each device's windows in a span [devices]."""
        running = np.concatenate([[0.0], np.cumsum(self.end_s - self.start_s)])
        return np.asarray(running[self.offsets[1:]] - running[self.offsets[:-1]])

    def there(self, now_s: float) -> Mask:
        """Which devices may be asked now [devices]."""
        return self.open_at(np.arange(self.devices), np.full(self.devices, now_s))

    def open_at(self, devices: IntArray, at_s: Floats) -> Mask:
        """Whether each of `devices` [n] may be asked at its second [n]."""
        place, inside = self._window_of(devices, at_s % self.span_s)
        member = (self.joined_s[devices] <= at_s) & (at_s < self.left_s[devices])
        return member & inside & (place >= 0)

    def until(self, devices: IntArray, began_s: Floats, work_s: Floats, *, resumes: bool) -> Floats:
        """When work is done that devices begin at a second.

        Args:
            devices: Which ones [n].
            began_s: When each begins [n].
            work_s: How long each works [n].
            resumes: Whether work goes on in the next window where one closes; otherwise it is lost.

        Returns:
            The seconds [n]; infinite where the work is never done.
        """
        done_before = self._passed(devices, began_s)
        if resumes:
            done = self._when(devices, done_before + work_s)
        else:
            done = began_s + work_s
            unbroken = self._passed(devices, done) - done_before >= work_s - 1e-3
            done = np.where(unbroken & self.open_at(devices, began_s), done, np.inf)
        return np.where(done <= self.left_s[devices], done, np.inf)

    def _window_of(self, devices: IntArray, within_s: Floats) -> tuple[IntArray, Mask]:
        """(the last window of each device that opens by a second of the span, whether it is still open)."""
        if not len(self.start_s):
            return np.full(len(devices), -1), np.zeros(len(devices), np.bool_)
        place = np.searchsorted(self._keys, devices * self._stride + within_s, side="right") - 1
        own = place >= self.offsets[devices]
        place = np.where(own, place, -1)
        return place, own & (within_s < self.end_s[place])

    def _passed(self, devices: IntArray, at_s: Floats) -> Floats:
        """Seconds of each device's windows that have passed, since the trace's beginning."""
        spans, within = np.divmod(at_s, self.span_s)
        place, _ = self._window_of(devices, within)
        inside = np.zeros(len(devices))
        found = place >= 0
        at = place[found]
        inside[found] = self._before[at] + np.minimum(within[found], self.end_s[at]) - self.start_s[at]
        return spans * self.total_s[devices] + inside

    def _when(self, devices: IntArray, passed_s: Floats) -> Floats:
        """The seconds at which so many seconds of each device's windows have passed."""
        total = self.total_s[devices]
        never = total <= 0
        spans = np.maximum(np.ceil(passed_s / np.where(never, 1.0, total)) - 1, 0)
        rest = passed_s - spans * total
        keys = self._owners * self._stride + self._before
        place = np.searchsorted(keys, devices * self._stride + rest, side="left") - 1
        place = np.clip(place, self.offsets[devices], np.maximum(self.offsets[devices + 1] - 1, 0))
        place = np.minimum(place, max(len(self.start_s) - 1, 0))
        if not len(self.start_s):
            return np.full(len(devices), np.inf)
        when = spans * self.span_s + self.start_s[place] + rest - self._before[place]
        return np.where(never, np.inf, when)


@dataclass(frozen=True, eq=False)
class FleetTrace:
    """A fleet's devices by column.

    Attributes:
        names: Of the devices.
        span_s: Seconds that the sessions are of; they repeat.
        offsets: Where each device's sessions begin in the columns, and where the last one's end
            [devices + 1].
        start_s: When a session begins [sessions].
        end_s: When it ends [sessions].
        charging: Whether the device is plugged in meanwhile [sessions]; it is online in all sessions.
        gflops: Arithmetic that a device does in training, in GFLOP a second [devices].
        down_mbps: Megabits a second that it receives [devices].
        up_mbps: Megabits a second that it sends [devices].
        network: Places in NETWORKS [devices].
        zone_h: Hours that its clock is before UTC's [devices].
        joined_s: When it joins the fleet [devices].
        left_s: When it leaves for ever [devices]; infinite where it stays.
    """

    names: tuple[str, ...]
    span_s: float
    offsets: IntArray
    start_s: Floats
    end_s: Floats
    charging: Mask
    gflops: Floats
    down_mbps: Floats
    up_mbps: Floats
    network: npt.NDArray[np.uint8]
    zone_h: Floats
    joined_s: Floats
    left_s: Floats

    @property
    def devices(self) -> int:
        """How many devices there are."""
        return len(self.names)

    @property
    def speed(self) -> Floats:
        """How fast each device computes, in units of the median device [devices]."""
        return np.asarray(self.gflops / np.median(self.gflops))

    @property
    def owners(self) -> IntArray:
        """The device of each session [sessions]."""
        return np.repeat(np.arange(self.devices), np.diff(self.offsets))

    def digest(self) -> str:
        """SHA-256 of all columns."""
        digest = hashlib.sha256(repr((self.span_s, self.names)).encode())
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray):
                digest.update(np.ascontiguousarray(value).tobytes())
        return digest.hexdigest()

    def windows(self, when: str) -> Windows:
        """When devices may be asked: in all sessions, or in those in which they are charging.

        Args:
            when: CHARGING or ONLINE.
        """
        kept = self.charging if when == CHARGING else np.ones(len(self.start_s), np.bool_)
        owners, start, end = self.owners[kept], self.start_s[kept], self.end_s[kept]
        # Sessions that touch are one window: work goes on where a device is unplugged and may go on.
        touches = np.zeros(len(start), np.bool_)
        touches[1:] = (owners[1:] == owners[:-1]) & (start[1:] <= end[:-1])
        first = np.flatnonzero(~touches)
        last = np.append(first[1:], len(start)) - 1
        counts = np.bincount(owners[first], minlength=self.devices) if len(first) else np.zeros(self.devices)
        return Windows(
            span_s=self.span_s,
            offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            start_s=start[first],
            end_s=end[last] if len(first) else end,
            joined_s=self.joined_s,
            left_s=self.left_s,
        )

    def of(self, devices: IntArray) -> FleetTrace:
        """The trace of some of the devices, in this order; one may occur several times."""
        lengths = np.diff(self.offsets)[devices]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        within = np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths)
        rows = np.repeat(self.offsets[:-1][devices], lengths) + within
        columns = ("gflops", "down_mbps", "up_mbps", "network", "zone_h", "joined_s", "left_s")
        return dataclasses.replace(
            self,
            names=tuple(self.names[device] for device in devices.tolist()),
            offsets=offsets,
            start_s=self.start_s[rows],
            end_s=self.end_s[rows],
            charging=self.charging[rows],
            **{name: getattr(self, name)[devices] for name in columns},
        )

    def sample(self, devices: int, *, seed: int) -> FleetTrace:
        """So many of the devices, drawn without replacement, in the trace's order."""
        if devices == self.devices:
            return self
        drawn = generator(seed, 0, "trace/sample").permutation(self.devices)[:devices]
        return self.of(np.sort(drawn))
