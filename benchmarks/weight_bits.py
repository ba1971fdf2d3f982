"""What students in 32, 8 or 4 bits a weight cost methods that send them: accuracy, and bytes both ways.

    python benchmarks/weight_bits.py               # digits, 20 devices, Dirichlet 0.1, fedavg, three seeds
    python benchmarks/weight_bits.py --method feddf --families mlp-small --seeds 1 --first-seed 1000

The public set's labels are not used. Differences to float32 are of the same seed, with the 95 % interval of
their mean; bytes are those of a device and round, as sent.
"""

from __future__ import annotations

import argparse

from fedstill_server.methods import METHODS
from fedstill_sim.compare.estimate import Estimate

import fedstill as fs

WEIGHTS = ("float32", "8bit", "4bit")
SETS = {"digits": fs.datasets.digits, "mnist1d": fs.datasets.mnist1d}
KINDS = ("personal", "global")


def run(options: argparse.Namespace, weights: str, seed: int) -> fs.Result:
    """One run of a method that sends students in these bits."""
    return fs.simulate(
        SETS[options.dataset](devices=options.devices, dirichlet=options.dirichlet, seed=seed),
        method=METHODS.load(options.method)(weights=weights),
        students=options.families.split(","),
        rounds=options.rounds,
        seed=seed,
        use_public_labels=False,
        evaluate_every=1_000,
        processes=0,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--dataset", default="digits", choices=sorted(SETS))
    parser.add_argument("--method", default="fedavg")
    parser.add_argument("--families", default="mlp-small,mlp-wide,cnn")
    parser.add_argument("--devices", type=int, default=20)
    parser.add_argument("--dirichlet", type=float, default=0.1)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    options = parser.parse_args()
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    print("weights    personal   to float32      global   to float32        up      down")
    whole: dict[str, list[float]] = {}
    for weights in WEIGHTS:
        results = [run(options, weights, seed) for seed in seeds]
        row = f"{weights:9s}"
        for kind in KINDS:
            values = [float(getattr(one.final, f"{kind}_accuracy")) for one in results]
            apart = Estimate.of([a - b for a, b in zip(values, whole.setdefault(kind, values), strict=True)])
            row += f" {100 * sum(values) / len(values):8.1f} %"
            row += f" {100 * apart.mean:+5.1f} ± {100 * (apart.half_width or 0):3.1f} "
        up, down = (
            sum(getattr(one.final, f"{way}link_bytes_per_device_round") for one in results) / len(results)
            for way in ("up", "down")
        )
        print(f"{row} {up:7,.0f} B {down:7,.0f} B", flush=True)


if __name__ == "__main__":
    main()
