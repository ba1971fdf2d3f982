"""What soft labels cost on the wire, and what coding them tightly costs in accuracy.

Three questions, answered by real runs of the simulator (digits, ten devices, Dirichlet 1, no labels of the
public set, all 516 public examples answered in each round by FedMD's mean of soft labels at temperature 1):

1. CFD's claim (Sattler et al. 2021, arXiv 2012.00632): one bit a probability, coded as a delta, against plain
float32, same seeds: at least 100 times fewer uplink bytes at no more than one point lost, personal and
global. 2. Entropy coding: the codes of the devices' last answers take at most 5 % more than their empirical
entropy. 3. A table of codecs: uplink bytes a device and round as sent, and both accuracies.

    python benchmarks/codec.py --json

And, by itself, what entropy coding takes of a processor, milliseconds a device: answers of 320 rows of ten
classes, alone and in stacks of devices, made to bytes, only counted, and decoded with the check that no
other bytes would do.

    python benchmarks/codec.py --speed
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from fedstill_proto.soft_labels.codec_spec import format_codec, parse_codec
from fedstill_proto.soft_labels.entropy import (
    Bases,
    CodedLevels,
    codings,
    decode_all,
    encode_all,
    encode_levels,
)
from fedstill_proto.soft_labels.levels import Levels
from fedstill_server.rounds.base_tables import BaseTables
from fedstill_sim.results.json_files import read_json
from fedstill_sim.results.run_result import RESULT_FILE

COMMAND = [sys.executable, "-c", "from fedstill_sim.cli import main; main()"]
FLEET = "digits --method fedmd --devices 10 --dirichlet 1 --families mlp-small --temperature 1"
FLEET += " --no-public-labels --public-batch 0 --baselines none --no-tradeoff --no-report --processes 0"

WHOLE, ONE_BIT, FINE = "float32", "dense,1bit,entropy,delta", "dense,8bit,log,entropy,delta"
TABLE = ("uint8", "dense,2bit,entropy,delta", "dense,4bit,entropy,delta", "topk3,3bit,entropy,delta", FINE)
MEASURED = ("dense,1bit", "dense,2bit", "dense,3bit", "dense,4bit", "dense,6bit", "dense,8bit", "topk3,3bit")
MEASURED += ("dense,2bit,log", "dense,4bit,log", "dense,8bit,log")
FEWER, POINTS, OVER = 100.0, 1.0, 0.05
TIMED = ("dense,4bit,log,entropy", "dense,4bit,entropy", "topk3,4bit,entropy", "dense,4bit,log,entropy,delta")
ROWS, CLASSES, STACKS = 320, 10, (8, 32, 64)


@dataclass(frozen=True)
class Arm:
    """One run: uplink bytes are of a device and round, the mean over all rounds."""

    uplink: str
    seed: int
    uplink_bytes: float
    personal: float
    everyone: float


@dataclass(frozen=True)
class CodeSizes:
    """Mean bytes of an answer's codes, without the message around them."""

    codec: str
    plain: float
    entropy_coded: float
    against_last: float  # what the device said in the round before
    empirical_entropy: float  # of all codes of an answer, one by one
    over: float  # what entropy coding takes more than that, as a share


def run(uplink: str, seed: int, *, rounds: int, folder: Path) -> Arm:
    """Run the fleet with an uplink codec."""
    words = [*FLEET.split(), "--uplink", uplink, "--seed", str(seed), "--rounds", str(rounds)]
    words += ["--evaluate-every", str(rounds), "--quiet", "--force", "--out", str(folder)]
    done = subprocess.run(
        [*COMMAND, "run", *words], capture_output=True, text=True, env=dict(os.environ), check=False
    )
    if done.returncode != 0:
        raise SystemExit(f"fedstill-sim ended with {done.returncode}:\n{done.stderr}")
    result = read_json(folder / RESULT_FILE)
    if any(one["quarantined"] for one in result["rounds"]):
        raise SystemExit(f"answers were refused: {result['rounds'][-1]['quarantined']}")
    last = result["rounds"][-1]
    arm = Arm(
        uplink,
        seed,
        mean(one["uplink_bytes_per_device_round"] for one in result["rounds"]),
        last["personal_accuracy"],
        last["global_accuracy"],
    )
    print(arm, file=sys.stderr)
    return arm


def claim(arms: Sequence[Arm]) -> dict[str, Any]:
    """Judge CFD's claim over the seeds of both arms."""
    whole, tight = ([arm for arm in arms if arm.uplink == name] for name in (WHOLE, ONE_BIT))
    fewer = mean(arm.uplink_bytes for arm in whole) / mean(arm.uplink_bytes for arm in tight)
    lost = {
        name: 100 * (mean(getattr(arm, name) for arm in whole) - mean(getattr(arm, name) for arm in tight))
        for name in ("personal", "everyone")
    }
    passed = fewer >= FEWER and max(lost.values()) <= POINTS
    return {"fewer_bytes": fewer, "points_lost": lost, "seeds": len(whole), "passed": passed}


def last_round_sizes(folder: Path, *, rounds: int) -> list[CodeSizes]:
    """Measure the devices' answers in the last round of a finely coded run, on coarser grids."""
    last, before = (
        BaseTables.from_bytes((folder / f"server/checkpoints/round-{number:06d}.tables").read_bytes())
        for number in (rounds, rounds - 1)
    )
    pairs = [
        (last.tables[device][1].levels, before.tables[device][1].levels) for device in sorted(last.tables)
    ]
    return [code_sizes(words, pairs) for words in MEASURED]


def code_sizes(words: str, answers: Sequence[tuple[Levels, Levels]]) -> CodeSizes:
    """Measure answers in a codec, each with the device's answer before it."""
    codec = parse_codec(f"{words},entropy,delta")
    pairs = [(codec.levels(now.soft_labels()), codec.levels(then.soft_labels())) for now, then in answers]
    coded = mean(len(encode_levels(now, entropy=True)) for now, _ in pairs)
    entropy = mean(empirical_entropy_bytes(now) for now, _ in pairs)
    return CodeSizes(
        words,
        mean(len(encode_levels(now, entropy=False)) for now, _ in pairs),
        coded,
        mean(len(encode_levels(now, entropy=True, table_base=then)) for now, then in pairs),
        entropy,
        coded / entropy - 1,
    )


def empirical_entropy_bytes(levels: Levels) -> float:
    """Compute the entropy of the codes, one by one, and of the gaps between kept classes."""
    parts = [levels.codes] if levels.indices is None else [levels.codes, np.diff(levels.indices, prepend=-1)]
    return sum(_entropy_bits(part) for part in parts) / 8


def _entropy_bits(symbols: np.ndarray) -> float:
    shares = np.unique(symbols, return_counts=True)[1] / symbols.size
    return float(-(shares * np.log2(shares)).sum() * symbols.size)


def speeds(words: Sequence[str], *, repeats: int) -> list[dict[str, Any]]:
    """Processor milliseconds a device of coding and decoding answers, the least of so many repeats."""
    generator = np.random.default_rng(0)
    shares = generator.dirichlet(np.full(CLASSES, 0.15), size=(STACKS[-1], ROWS)).astype(np.float32)
    results = []
    for codec in map(parse_codec, words):
        levels = [codec.levels(own) for own in shares]
        base = levels[0] if codec.delta else None
        data = [encode_levels(own, entropy=True, task_base=base) for own in levels]
        shape = codec.shape(ROWS, CLASSES)
        for size in (1, *STACKS):
            some, bases = levels[:size], [Bases(base)] * size
            coded = [CodedLevels(one, shape, "codes", Bases(base)) for one in data[:size]]
            assert encode_all(some, entropy=True, bases=bases) == data[:size]
            timed = {
                "encode": functools.partial(encode_all, some, entropy=True, bases=bases),
                "count": functools.partial(codings, some, entropy=True, bases=bases),
                "decode": functools.partial(decode_all, coded),
            }
            of_stack = {name: least_ms(work, repeats=repeats) / size for name, work in timed.items()}
            results.append({"codec": format_codec(codec), "devices": size, **of_stack})
    return results


def printed_speeds(results: Sequence[dict[str, Any]]) -> None:
    print(f"{'ms a device':32}{'devices':>8}{'encode':>9}{'count':>9}{'decode':>9}")
    for one in results:
        figures = "".join(f"{one[name]:9.3f}" for name in ("encode", "count", "decode"))
        print(f"{one['codec']:32}{one['devices']:8}{figures}")


def least_ms(work: Callable[[], object], *, repeats: int) -> float:
    """The least processor time of `work`, in milliseconds."""
    work()
    least = math.inf
    for _ in range(repeats):
        started = time.process_time()
        work()
        least = min(least, time.process_time() - started)
    return 1000 * least


def benchmark(*, seeds: int, rounds: int, folder: Path) -> dict[str, Any]:
    arms = [
        run(uplink, seed, rounds=rounds, folder=folder / "run")
        for seed in range(seeds)
        for uplink in (WHOLE, ONE_BIT)
    ]
    arms += [run(uplink, 0, rounds=rounds, folder=folder / "run") for uplink in TABLE]
    coded = last_round_sizes(folder / "run", rounds=rounds)  # the last of the table is the fine one
    over = max(one.over for one in coded)
    return {
        "fleet": FLEET,
        "rounds": rounds,
        "arms": [asdict(arm) for arm in arms],
        "claim": claim(arms),
        "coded": [asdict(one) for one in coded],
        "entropy": {"most_over": over, "passed": over <= OVER},
    }


def printed(result: dict[str, Any]) -> None:
    print(f"fedstill-sim run {result['fleet']} --rounds {result['rounds']}\n")
    print(f"{'uplink':32}{'seed':>5}{'bytes a device-round':>22}{'personal':>10}{'global':>9}")
    for arm in result["arms"]:
        print(
            f"{arm['uplink']:32}{arm['seed']:5}{arm['uplink_bytes']:22,.0f}"
            f"{100 * arm['personal']:10.1f}{100 * arm['everyone']:9.1f}"
        )
    heads = f"{'plain':>8}{'entropy':>9}{'delta':>8}{'empirical':>11}{'over':>8}"
    print(f"\n{'codes of one answer, bytes':28}{heads}")
    for one in result["coded"]:
        print(
            f"{one['codec']:28}{one['plain']:8,.0f}{one['entropy_coded']:9,.0f}{one['against_last']:8,.0f}"
            f"{one['empirical_entropy']:11,.0f}{100 * one['over']:7.1f}%"
        )
    claimed, entropy = result["claim"], result["entropy"]
    lost = claimed["points_lost"]
    fewer = f"{claimed['fewer_bytes']:.0f} times fewer uplink bytes (at least {FEWER:g})"
    print(f"\n{_verdict(claimed)}: {fewer},", end=" ")
    print(f"{lost['personal']:+.1f} points personal and {lost['everyone']:+.1f} global lost", end=" ")
    print(f"(at most {POINTS:g}), mean of {claimed['seeds']} seeds")
    print(f"{_verdict(entropy)}: coded size at most {100 * entropy['most_over']:+.1f} % over", end=" ")
    print(f"the empirical entropy (at most {100 * OVER:g} %)")


def _verdict(part: dict[str, Any]) -> str:
    return "PASSED" if part["passed"] else "FAILED"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=2, help="of the two arms of the claim")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of tables")
    parser.add_argument("--speed", action="store_true", help="measure the time of entropy coding instead")
    parser.add_argument("--repeats", type=int, default=9, help="of which --speed takes the least")
    options = parser.parse_args()
    if options.speed:
        results = speeds(TIMED, repeats=options.repeats)
        print(json.dumps(results, indent=1)) if options.json else printed_speeds(results)
        return 0
    with tempfile.TemporaryDirectory(prefix="fedstill-codec-") as folder:
        result = benchmark(seeds=options.seeds, rounds=options.rounds, folder=Path(folder))
    if options.json:
        print(json.dumps(result, indent=1))
    else:
        printed(result)
    return 0 if result["claim"]["passed"] and result["entropy"]["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
