"""Networks as people bring them, each as a student: captured, compared, timed, and trained for a round.

For every network of benchmarks/zoo_networks: is it captured, and if not, which operators are missing; are 20
steps torch's in float64 with one thread and with two, and the answers of the inference graph torch's; does a
simulated round go through; how fast is a step of 16 examples beside eager torch on one thread, measured in
turn on one processor; and can devices be stacked. What was found is kept in the JSON file: a network that
passes is not tried again until the sources change (--keep: until it changes itself).

    python benchmarks/zoo.py --json zoo.json
    python benchmarks/zoo.py --only resnet8,lstm
    python benchmarks/zoo.py --quick
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from fedstill_proto.errors import FedstillError
from fedstill_server.export.cache import cache_key
from fedstill_server.export.structure import structure_of
from fedstill_server.families import FAMILIES
from fedstill_server.families.family import Family
from fedstill_sim.folder import cache_folder

import fedstill as fs
from benchmarks.zoo_networks import adapted, images, perceptrons, published, sequences
from benchmarks.zoo_networks.network import ZooNetwork

NETWORKS = {
    name: network
    for file in (perceptrons, images, sequences, published, adapted)
    for name, network in file.NETWORKS.items()
}
QUICK = (
    "mlp-gelu",
    "mlp-batchnorm",
    "lenet5-batchnorm",
    "conv1d",
    "gru-layer",
    "vit-block",
    "lora-mlp-mixer",
)
ROWS, DEVICES, EXAMPLES = 16, 2, 12
_PREFIX = "zoo-"  # a family has the name of its network, unless fedstill has one of that name


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="names, with commas between")
    parser.add_argument("--quick", action="store_true", help=f"only {', '.join(QUICK)}")
    parser.add_argument("--keep", action="store_true", help="keep results of other sources")
    parser.add_argument("--json", type=Path, default=Path("zoo.json"), help="where results are kept")
    parser.add_argument("--processor", type=int, default=None, help="the processor to run on; any by default")
    asked = parser.parse_args()
    names = asked.only.split(",") if asked.only else QUICK if asked.quick else tuple(NETWORKS)
    if unknown := sorted(set(names) - NETWORKS.keys()):
        parser.error(f"--only: no network named {', '.join(unknown)}; there are {', '.join(NETWORKS)}")
    if asked.processor is not None:
        os.sched_setaffinity(0, {asked.processor})
    warnings.filterwarnings("ignore")
    kept: dict[str, Any] = json.loads(asked.json.read_text()) if asked.json.exists() else {}
    start, tried = time.monotonic(), 0
    for place, name in enumerate(names):
        network = NETWORKS[name]
        FAMILIES.register(_PREFIX + name, Family(network.build, form=network.form))
        key = _key(name, network, any_sources=asked.keep)
        known = kept.get(name, {"error": "never tried"})
        if not known["error"] and known["key_kept" if asked.keep else "key"] == key:
            continue
        kept[name] = {**_tried(name, network), "key": _key(name, network, any_sources=False)}
        kept[name]["key_kept"] = _key(name, network, any_sources=True)
        asked.json.write_text(json.dumps(kept, indent=1))
        tried += 1
        left = (time.monotonic() - start) / tried * (len(names) - place - 1)
        print(f"{_line(name, kept[name])}   ({left / 60:.0f} min left)", file=sys.stderr, flush=True)
    _show({name: kept[name] for name in names})


def _key(name: str, network: ZooNetwork, *, any_sources: bool) -> str:
    """The digest of what the network computes, and of the sources that make graphs."""
    try:
        structure = structure_of(_PREFIX + name, network.input_shape, network.classes)
    except FedstillError as error:
        structure = str(error)
    return str(structure)[:16] if any_sources else cache_key({"network": name, "structure": structure})


def _tried(name: str, network: ZooNetwork) -> dict[str, Any]:
    """All that is found of one network."""
    begun = time.monotonic()
    result: dict[str, Any] = {"stage": "captured", "error": ""}
    try:
        found = fs.check(
            _PREFIX + name,
            input_shape=network.input_shape,
            classes=network.classes,
            rows=ROWS,
            cache=cache_folder() / "artifacts",
        )
        result |= found.to_json()
        if found.problems:
            result["error"] = "; ".join((*found.problems, *found.missing))
            result["stage"] = "operators" if found.missing else "captured" if found.cost is None else "gate"
        else:
            result["stage"] = "round"
            result["loss"] = _round(name, network)
            result["stage"] = ""
    except Exception as error:  # the zoo goes on, and tells
        result["error"] = f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
    return {**result, "seconds": time.monotonic() - begun}


def _round(name: str, network: ZooNetwork) -> float:
    """Simulate a round of two devices, and return the accuracy that it ends with."""
    random = np.random.default_rng(0)

    def examples(count: int) -> tuple[Any, Any]:
        x = network.form.random((count, *network.input_shape), classes=network.classes, random=random)
        return x, np.arange(count) % network.classes

    devices = {f"device-{place}": fs.Device(*examples(EXAMPLES), *examples(4)) for place in range(DEVICES)}
    scaled = "auto" if network.form.amounts else "none"  # the numbers of tokens are names
    fleet = fs.Fleet.from_arrays(devices, public=examples(8), classes=network.classes, normalize=scaled)
    # What lies between two tokens means nothing: none are mixed, and none bear noise.
    method = (
        fs.methods.Fedstill() if network.form.amounts else fs.methods.Fedstill(fewest_rows=0, student_noise=0)
    )
    result = fs.simulate(
        fleet,
        method=method,
        students=[_PREFIX + name],
        rounds=1,
        epochs=1,
        batch_size=ROWS // 2,  # a step has as many public rows
        optimizer="sgd",
        processes=0,
        tradeoff=False,
    )
    return float(result.final.personal_accuracy)


def _line(name: str, result: dict[str, Any]) -> str:
    if result["error"]:
        return f"{name:<24} {result['stage']}: {result['error'][:160]}"
    return f"{name:<24} passes, {result['cost']['torch_step_ms'] / result['cost']['step_ms']:.2f} x torch"


def _show(results: dict[str, dict[str, Any]]) -> None:
    """Print the table, and what it comes to."""
    columns = ("trains", 11), ("frozen", 11), ("gate", 8), ("answers", 8), ("step ms", 8), ("x torch", 8)
    print(f"{'network':<24}", *(f"{title:>{width}}" for title, width in columns), "stack")
    passing = []
    for name, result in results.items():
        if result["error"]:
            print(f"{name:<24} {result['stage']}: {result['error']}")
            continue
        cost, gate = result["cost"], result["gate"]
        passing.append(cost["torch_step_ms"] / cost["step_ms"])
        steps = f"{gate['agreeing_steps']}/20" if gate["agreeing_steps"] else "in a row"
        print(
            f"{name:<24} {result['trained']:>11,} {result['frozen']:>11,} {steps:>8} {gate['answers']:>8.0e} "
            f"{cost['step_ms']:>8.2f} {passing[-1]:>8.2f} {'one' if result['one_at_a_time'] else 'any'}"
        )
    fast = sum(ratio >= 1 for ratio in passing)
    print(
        f"{len(passing)} of {len(results)} networks pass; {fast} of them ({fast / max(len(passing), 1):.0%}) "
        "take a step at least as fast as eager torch on one thread"
    )


if __name__ == "__main__":
    main()
