"""Fleets of data sets of Hugging Face's `datasets`, as partitioners of flwr-datasets share them out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from fedstill_proto.readers.columns import TableColumns, columns_of
from fedstill_proto.readers.errors import DataError
from fedstill_proto.readers.given import GivenExamples, given_table
from fedstill_proto.readers.tables import joined
from fedstill_proto.system.extras import require_extra
from fedstill_sim.data.dealing import Dealing
from fedstill_sim.data.fleet import FleetDataError
from fedstill_sim.data.given import GivenDevice, GivenFleet, fleet_of, fleet_of_devices
from fedstill_sim.data.own_data import OwnDataOptions

from fedstill.examples import as_array, counted
from fedstill.fleet import Fleet
from fedstill.own_data import as_table, with_class_names


def partitioned_fleet(
    dataset: Any,
    partitioner: Any,
    *,
    features: str | Sequence[str] | None,
    shared: dict[str, Any],
    options: OwnDataOptions,
    seed: int,
) -> Fleet:
    """The fleet of a data set's partitions; see `fedstill.datasets.partitioned`."""
    require_extra("data", what="fedstill.datasets.partitioned")
    from datasets import Dataset

    if not isinstance(dataset, Dataset):
        raise FleetDataError(
            f"dataset: {type(dataset).__name__} is no datasets.Dataset; give one split, such as data['train']"
        )
    try:
        if not partitioner.is_dataset_assigned():
            partitioner.dataset = dataset
        parts = [partitioner.load_partition(number) for number in range(partitioner.num_partitions)]
    except (AttributeError, TypeError, ValueError, KeyError, AssertionError) as error:
        kind = type(partitioner).__name__
        raise FleetDataError(f"partitioner: {kind} cannot share the data out: {error}") from None
    names = _names(partitioner, len(parts))
    given = {f"devices[{name!r}]": part for name, part in zip(names, parts, strict=True)}
    try:
        return _fleet(given, names, features=features, shared=shared, options=options, seed=seed)
    except DataError as error:
        raise FleetDataError(str(error)) from None


def _fleet(
    parts: dict[str, Any],
    names: Sequence[str],
    *,
    features: str | Sequence[str] | None,
    shared: dict[str, Any],
    options: OwnDataOptions,
    seed: int,
) -> Fleet:
    label = options.label_column
    every = {**parts, **{name: part for name, part in shared.items() if part is not None}}
    for where, part in every.items():
        needed = [features] if isinstance(features, str) else [*(features or ())]
        for name in (*needed, label):
            if name not in part.column_names and not (where == "public" and name == label):
                raise FleetDataError(f"{where}: there is no column {name!r}; there are {part.column_names}")
    columns: TableColumns | None = None
    if isinstance(features, str):
        read = {where: _arrays(where, part, features, label) for where, part in every.items()}
    else:
        kept = None if features is None else [*features, label]
        tables = {
            where: as_table(where, part if kept is None else part.select_columns(_held(part, kept)))
            for where, part in every.items()
        }
        basis = [tables["public"]] if "public" in tables else [tables[where] for where in parts]
        columns = columns_of(joined(basis), label=label, missing=options.missing)
        read = {where: given_table(table, columns) for where, table in tables.items()}
    dealing = Dealing.asked(options, devices=None, dirichlet=None, seed=seed)
    devices = [GivenDevice(name=name, train=read[where]) for name, where in zip(names, parts, strict=True)]
    given = GivenFleet(
        name="partitions",
        description=f"partitions: {counted(len(devices), 'device')} as a partitioner gives them",
        parts=(),
        devices=None,
        public=read.get("public"),
        test=read.get("test"),
        columns=columns,
    )
    fleet = Fleet(fleet_of(fleet_of_devices(devices, given, dealing)))
    described = next(iter(parts.values())).features.get(label)
    return with_class_names(fleet, tuple(getattr(described, "names", None) or fleet.data.class_names))


def _held(part: Any, names: Sequence[str]) -> list[str]:
    return [name for name in names if name in part.column_names]


def _names(partitioner: Any, count: int) -> list[str]:
    """The partitions' names: of natural ones, the values that tell them apart."""
    natural = getattr(partitioner, "partition_id_to_natural_id", None) or {}
    if len(natural) == count and len({str(name) for name in natural.values()}) == count:
        return [str(natural[number]) for number in range(count)]
    return [f"partition-{number:0{len(str(count - 1))}d}" for number in range(count)]


def _arrays(where: str, part: Any, features: str, label: str) -> GivenExamples:
    examples = [as_array(where, features, example) for example in part[features]]
    for row, example in enumerate(examples):
        if example.shape != examples[0].shape:
            raise DataError(
                f"{where}: row {row}: {features!r} has shape {list(example.shape)}, row 0 "
                f"{list(examples[0].shape)}; give all one shape"
            )
    y = np.asarray(part[label]) if label in part.column_names else None
    return GivenExamples(f"{where}: {features}", np.stack(examples), y, labels_where=f"{where}: {label}")
