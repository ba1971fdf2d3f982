"""Fleets of built-in data sets, and of folders.

    fleet = fs.datasets.digits(devices=10, dirichlet=0.1)

The seed decides how the data is dealt out to devices. `fedstill-sim run --seed 3` uses the same one for data
and training, so that `digits(seed=3)` simulated with `seed=3` is that run.
"""

from __future__ import annotations

from pathlib import Path

from fedstill_proto.system.extras import require_extra

from fedstill.fleet import Fleet, Source

__all__ = ["assistant", "digits", "folder", "keyboard", "mnist1d"]


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


def folder(path: Path | str) -> Fleet:
    """Return the fleet of a folder with client_<i>.npz, public.npz and global_test.npz.

    client_<i>.npz holds x_train, y_train, x_test and y_test of a device; public.npz holds x, and y if it is
    labelled; global_test.npz holds x and y.

    Raises:
        FedstillError: Names the file and the field that does not fit.
    """
    from fedstill_sim.data.folder import load_folder

    place = Path(path).absolute()
    return Fleet(load_folder(place, families=("",)), Source(folder=str(place)))
