"""Numbers as people read them, in the terminal and in reports alike; what is not known is a dash."""

from __future__ import annotations

NONE = "–"


def readable_bytes(count: float | None) -> str:
    """Format bytes with three figures at most: 512 B, 1.2 kB, 34 MB."""
    if count is None:
        return NONE
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5:
            figures = 0 if unit == "B" or count >= 99.95 else 1 if count >= 9.995 else 2
            text = f"{count:.{figures}f}"
            return f"{text.rstrip('0').rstrip('.') if '.' in text else text} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def readable_percent(share: float | None) -> str:
    """Format a share of 1 in percent: 0.934 as 93.4 %."""
    return NONE if share is None else f"{100 * share:.1f} %"


def readable_points(difference: float | None) -> str:
    """Format a difference of two accuracies in percentage points, with its sign: 0.012 as +1.2."""
    return NONE if difference is None else f"{100 * difference:+.1f}"


def readable_seconds(seconds: float | None) -> str:
    """Format a duration: 0.4 s, 37 s, 2 min 05 s, 1 h 20 min."""
    if seconds is None:
        return NONE
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {whole % 60:02d} s"


def readable_ratio(ratio: float | None) -> str:
    """Format a ratio: 1/23 below one, 4.1x above."""
    if ratio is None or ratio <= 0:
        return NONE
    return f"1/{1 / ratio:.3g}" if ratio < 1 else f"{ratio:.3g}x"


def counted(count: int, thing: str) -> str:
    """Format a count with its noun: 1 round, 10,000 devices."""
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"
