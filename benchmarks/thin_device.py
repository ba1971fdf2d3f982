"""What a device on arm64 gets: wheels for all that is listed but one, for which Python stands in.

Downloads the wheels of requirements/device.txt for 64-bit ARM into a temporary folder (from the registry that
pip is set to), and codes the answers of one device, 516 rows over ten classes, with constriction and with
the coder in Python: the verdict is that every wheel is there, and the bytes are the same.

    python benchmarks/thin_device.py
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

import numpy as np
from fedstill_proto.soft_labels import range_coder
from fedstill_proto.soft_labels.codec_spec import parse_codec
from fedstill_proto.soft_labels.entropy import encode_levels
from fedstill_proto.soft_labels.label_arrays import DenseSoftLabels
from fedstill_proto.soft_labels.levels import Levels

LIST = Path(__file__).resolve().parents[1] / "requirements" / "device.txt"
_ROWS, _CLASSES, _RUNS = 516, 10, 5
_GLIBC = (17, 26, 27, 28, 34)  # as manylinux names what wheels are built against


def wheels_for_arm64(folder: Path) -> dict[str, bool]:
    """Download each line's wheel; returns whether there was one, by line."""
    platforms = [word for minor in _GLIBC for word in ("--platform", f"manylinux_2_{minor}_aarch64")]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", "--python-version", "3.11", "--dest", str(folder), *platforms]
    command += ["--platform", "manylinux2014_aarch64"]
    found = {}
    for line in LIST.read_text().splitlines():
        requirement, _, marker = line.partition(";")
        if line and not line.startswith("#") and "x86_64" not in marker:
            done = subprocess.run([*command, requirement.strip()], capture_output=True)
            found[requirement.strip()] = done.returncode == 0
    return found


def coded(levels: Levels, *, library: bool) -> tuple[bytes, float]:
    """Code levels; returns the bytes, and the least seconds of several runs."""
    seconds, content = float("inf"), b""
    with mock.patch.object(range_coder, "HAS_LIBRARY", library):
        for _ in range(_RUNS):
            started = time.perf_counter()
            content = encode_levels(levels, entropy=True)
            seconds = min(seconds, time.perf_counter() - started)
    return content, seconds


def main() -> None:
    probabilities = np.random.default_rng(0).dirichlet(np.full(_CLASSES, 0.3), size=_ROWS)
    codes_equal = True
    for words in ("topk4,8bit,entropy", "dense,8bit,log,entropy"):
        levels = parse_codec(words).levels(DenseSoftLabels(probabilities.astype(np.float32)))
        (fast, fast_s), (slow, slow_s) = (coded(levels, library=one) for one in (True, False))
        codes_equal &= fast == slow
        print(
            f"{words}: {len(fast)} bytes, the same in Python: {fast == slow}; {1e3 * fast_s:.1f} ms with "
            f"constriction, {1e3 * slow_s:.1f} ms in Python ({slow_s / fast_s:.1f} times)"
        )
    with tempfile.TemporaryDirectory() as folder:
        found = wheels_for_arm64(Path(folder))
        size_mb = sum(file.stat().st_size for file in Path(folder).iterdir()) / 1e6
    missing = [line for line, there in found.items() if not there]
    print(
        f"arm64: {len(found) - len(missing)} of {len(found)} wheels, {size_mb:.0f} MB to download; {missing=}"
    )
    sys.exit(0 if codes_equal and not missing else 1)


if __name__ == "__main__":
    main()
