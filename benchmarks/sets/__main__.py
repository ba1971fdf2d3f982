"""Write a data set as the folder that `fedstill-sim run --data FOLDER` takes.

python -m benchmarks.sets watch_800rows_unlabelled --seed 1000 --out watch1000
python -m benchmarks.sets mnist5k --devices 12 --dirichlet 0.1 --out mnist
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from fedstill_proto.errors import FedstillError
from fedstill_sim.data.fleet import GLOBAL_TEST_FILE, PUBLIC_SET_FILE, FleetData

from . import FleetPlan, deal, variant_of


def write(data: FleetData, folder: Path) -> None:
    """Write `client_<i>.npz` for each device, `public.npz` and `global_test.npz`."""
    folder.mkdir(parents=True)
    for device, (train, test) in enumerate(zip(data.train, data.test, strict=True)):
        arrays = {"x_train": data.x[train], "y_train": data.y[train]}
        np.savez(folder / f"client_{device}.npz", **arrays, x_test=data.x[test], y_test=data.y[test])
    labels = {} if data.public_y is None else {"y": data.public_y}
    np.savez(folder / PUBLIC_SET_FILE, x=data.public_x, **labels)
    np.savez(folder / GLOBAL_TEST_FILE, x=data.global_x, y=data.global_y)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name")
    parser.add_argument("--devices", type=int, default=12)
    parser.add_argument("--dirichlet", type=float)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="a folder that is not there yet")
    options = parser.parse_args()
    plan = FleetPlan(devices=options.devices, dirichlet=options.dirichlet, seed=options.seed)
    try:
        data = deal(variant_of(options.name), plan)
        write(data, options.out)
    except (FedstillError, FileExistsError) as error:
        parser.exit(2, f"sets: {error}\n")
    print(f"{options.out}: {data.description}")


if __name__ == "__main__":
    main()
