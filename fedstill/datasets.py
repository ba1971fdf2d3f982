"""Fleets of built-in data sets, and of folders.

    fleet = fs.datasets.digits(devices=10, dirichlet=0.1)

The seed decides how the data is dealt out to devices. `fedstill-sim run --seed 3` uses the same one for data
and training, so that `digits(seed=3)` simulated with `seed=3` is that run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fedstill_proto.system.extras import require_extra

from fedstill.fleet import Fleet, Source

__all__ = ["arrays", "assistant", "digits", "folder", "keyboard", "mnist1d", "partitioned", "table"]


def digits(*, devices: int = 10, dirichlet: float | None = None, seed: int = 0) -> Fleet:
    """Return handwritten digits, 8 x 8 pixels, which scikit-learn brings: a device is a writer.

    Args:
        devices: How many there are. More than ten get shares of all writers' examples; where there are not 32
            examples for each, devices are resampled with replacement.
        dirichlet: The skew over classes: 0.1 gives devices few classes, 100 nearly all alike. None: each
            device is a writer, as long as there are enough.
        seed: Decides which examples belong to whom.

    Returns:
        The fleet, whose public set is four other writers, with labels.

    Raises:
        FedstillError: There cannot be so many devices, or the skew is not above 0.
        MissingExtra: fedstill[sim] is not installed.
    """
    require_extra("sim", what="fedstill.datasets.digits")
    from fedstill_sim.data.digits import load_digits

    data = load_digits(devices=devices, dirichlet=dirichlet, seed=seed, families=("",))
    return Fleet(data, Source(dataset="digits", dirichlet=dirichlet, seed=seed))


def mnist1d(*, devices: int = 10, dirichlet: float | None = None, seed: int = 0) -> Fleet:
    """Return MNIST-1D: generated curves of 40 points, of ten classes (Greydanus and Kobak 2020).

    Args:
        devices: How many there are.
        dirichlet: The skew over classes, as of `digits`.
        seed: Decides which examples belong to whom.

    Raises:
        FedstillError: There cannot be so many devices, or the skew is not above 0.
        MissingExtra: fedstill[sim] is not installed.
    """
    require_extra("sim", what="fedstill.datasets.mnist1d")
    from fedstill_sim.data.mnist1d import load_mnist1d

    data = load_mnist1d(devices=devices, dirichlet=dirichlet, seed=seed, families=("",))
    return Fleet(data, Source(dataset="mnist1d", dirichlet=dirichlet, seed=seed))


def keyboard(*, devices: int | None = None, seed: int = 0) -> Fleet:
    """Return a keyboard's fleet: each device holds the texts of one speaker of Shakespeare's plays.

    Args:
        devices: How many there are; by default a hundred.
        seed: Decides which public texts are shared. A run of the fleet needs the same.

    Raises:
        FedstillError: There are not so many speakers.
        MissingExtra: fedstill[sim] is not installed.
    """
    require_extra("sim", what="fedstill.datasets.keyboard")
    from fedstill_sim.tasks.text.fleet import load_keyboard_fleet

    data = load_keyboard_fleet(None, devices=devices, seed=seed, families=("",))
    return Fleet(data, Source(dataset="keyboard", seed=seed))


def assistant(*, devices: int | None = None, dirichlet: float | None = None, seed: int = 0) -> Fleet:
    """Return an assistant's fleet: homes in five languages, whose people say what they want of it.

    Args:
        devices: How many there are; by default twenty.
        dirichlet: The skew over intents, as of `digits`.
        seed: Decides which utterances belong to whom. A run of the fleet needs the same.

    Raises:
        FedstillError: There cannot be so many devices, or the skew is not above 0.
        MissingExtra: fedstill[assistant] is not installed.
    """
    require_extra("assistant", what="fedstill.datasets.assistant")
    from fedstill_sim.tasks.utterances.fleet import load_assistant_fleet

    data = load_assistant_fleet(None, devices=devices, dirichlet=dirichlet, seed=seed, families=("",))
    return Fleet(data, Source(dataset="assistant", dirichlet=dirichlet, seed=seed))


def folder(
    path: Path | str,
    *,
    devices: int | None = None,
    dirichlet: float | None = None,
    classes: int | None = None,
    seed: int = 0,
    scaling: Mapping[str, str] | None = None,
    target: str = "single-label",
    **reading: Any,
) -> Fleet:
    """Return the fleet of a folder of one's own, or of a file that is a table or a .npz of x and y.

    What lies there says of which form it is: client_<i>.npz beside public.npz and global_test.npz, or
    <device>.npz; <device>/<class>/<example>, or <class>/<example>, of pictures or of windows of measurements;
    <device>/x.npy and y.npy; tables; of a keyboard <user>.txt and public.txt, and of an assistant <user>.csv
    and public.csv (text,label), both with the seed of the run. docs/how-to/own-data.md has examples.

    Args:
        path: The folder or file.
        devices: How many share examples that belong to no device; by default 10.
        dirichlet: The skew over classes with which these are dealt out; None deals at random.
        classes: How many classes there are, where labels are their numbers and do not say.
        seed: Decides who gets what, and what is held out.
        scaling: How inputs are scaled: `normalize` and `channels`, as Fleet.from_arrays takes them.
        target: What labels say, as Fleet.from_arrays takes it.
        **reading: What `fedstill-sim run --data` takes, by the same names: label, device_column,
            family_column, leave_out, missing, image_size, image_colour, public_share, held_out.

    Raises:
        FedstillError: Names the file, and the field, row or column that does not fit.
        MissingExtra: fedstill[data] is not installed, and pictures or Parquet files need it.
    """
    require_extra("sim", what="fedstill.datasets.folder")
    from fedstill.own_data import read_folder

    return read_folder(
        path,
        devices=devices,
        dirichlet=dirichlet,
        classes=classes,
        seed=seed,
        scaling=scaling or {},
        target=target,
        reading=reading,
    )


def table(
    table: Any,
    *,
    public: Any = None,
    test: Any = None,
    devices: int | None = None,
    dirichlet: float | None = None,
    classes: int | None = None,
    seed: int = 0,
    target: str = "single-label",
    **reading: Any,
) -> Fleet:
    """Return the fleet of a table with named columns, of numbers, texts and truth values.

    Numbers are standardized, and texts get a number for each category, both by the public table, or by all
    rows where there is none. Students' packages carry that to devices.

    Args:
        table: A .csv or .parquet file, a data frame, a table of pyarrow or datasets, or columns by name.
        public: The same, which all devices share; its labels may be missing.
        test: The same, to test every student on.
        devices: How many share the rows where no column names their devices; by default 10.
        dirichlet: The skew over classes with which these are dealt out; None deals at random.
        classes: How many classes there are, where labels are their numbers and do not say.
        seed: Decides who gets what, and what is held out.
        target: "single-label", or "regression" of a column of numbers.
        **reading: What `fedstill-sim run --data` takes, by the same names: label, device_column,
            family_column, leave_out, missing, public_share, held_out.

    Raises:
        FedstillError: Names the row and the column that does not fit.

    Example:
        >>> columns = {"colour": ["red", "blue"] * 8, "size": range(16), "kind": ["a", "b"] * 8}
        >>> table(columns, label="kind", devices=2, public_share=0.25)
        <Fleet table: 2 devices, 8 examples of shape [3], 2 classes, 4 public examples with labels>
    """
    require_extra("sim", what="fedstill.datasets.table")
    from fedstill.own_data import read_tables

    return read_tables(
        {"table": table, "public": public, "test": test},
        devices=devices,
        dirichlet=dirichlet,
        classes=classes,
        seed=seed,
        target=target,
        reading=reading,
    )


def arrays(
    x: Any,
    y: Any,
    *,
    devices: int = 10,
    dirichlet: float | None = None,
    public: Any = None,
    test: tuple[Any, Any] | None = None,
    seed: int = 0,
    **dealt: Any,
) -> Fleet:
    """Return a fleet of examples that are dealt out to devices.

    Args:
        x: Examples [n, *shape].
        y: Their labels [n], whole numbers or texts.
        devices: How many there are.
        dirichlet: The skew over classes: 0.1 gives devices few classes; None deals at random into parts of
            one size.
        public: (x, y), or x alone, which all devices share.
        test: (x, y) to test every student on; by default the test examples of all devices.
        seed: Decides who gets what, and what is held out.
        **dealt: public_share, of the examples, which becomes the public set where there is none; held_out,
            the share of a device's examples that it is tested on; classes; normalize and channels, as
            Fleet.from_arrays takes them.

    Raises:
        FedstillError: Names what does not fit, and what to do.
    """
    require_extra("sim", what="fedstill.datasets.arrays")
    from fedstill.own_data import dealt_arrays

    return dealt_arrays(
        x,
        y,
        shared={"public": public, "test": test},
        devices=devices,
        dirichlet=dirichlet,
        seed=seed,
        dealt=dealt,
    )


def partitioned(
    dataset: Any,
    partitioner: Any,
    *,
    features: str | Sequence[str] | None = None,
    label: str = "label",
    public: Any = None,
    test: Any = None,
    seed: int = 0,
    **reading: Any,
) -> Fleet:
    """Return the fleet of a data set of Hugging Face's, as a partitioner of flwr-datasets shares it out.

    Args:
        dataset: A datasets.Dataset, of one split.
        partitioner: Of flwr_datasets.partitioner.
        features: The column of the examples, arrays or pictures of one shape; several, or None for all beside
            the label, are the columns of a table.
        label: The column of the labels.
        public: A datasets.Dataset that all devices share.
        test: The same, to test every student on.
        seed: Decides what is held out.
        **reading: held_out, the share of a device's examples that it is tested on; missing, as for `table`.

    Raises:
        FedstillError: Names the partition, the row and the column that does not fit.
        MissingExtra: fedstill[data] is not installed.
    """
    require_extra("sim", what="fedstill.datasets.partitioned")
    from fedstill.own_data import asked_reading
    from fedstill.partitions import partitioned_fleet

    return partitioned_fleet(
        dataset,
        partitioner,
        features=features,
        shared={"public": public, "test": test},
        options=asked_reading({**reading, "label": label}),
        seed=seed,
    )
