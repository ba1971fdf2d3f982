"""What a person asked for on the command line, before data and defaults turn it into a configuration."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from fedstill_proto.errors import FedstillError, InvalidValue
from fedstill_proto.soft_labels.codec_spec import parse_codec
from fedstill_server.data.forms import Labels
from fedstill_server.families import ARRAYS, FAMILIES, TEXT, UTTERANCES
from fedstill_server.methods import methods_for, noised_methods

DATASETS = ("digits", "mnist1d", "keyboard", "assistant")
TEXT_DATASETS = ("keyboard",)
TEXT_METHOD = "next-words"
TEXT_COMPARED = ("next-words", "local", "fedavg")
COMPARED = ("fedstill", "public-logits", "local", "fedavg")  # by `compare`, unless one says
DEFAULT_BASELINES = ("local", "fedavg")


PUBLIC_FILE = "public.txt"
PUBLIC_UTTERANCES_FILE = "public.csv"

# The option of each field of a RunRequest, where it is not the field's own name.
_OPTIONS = {"learning_rate": "--lr", "k": "--top-k"}

# Fields of fedstill_sim.availability.Participation, and of the server's AsyncRule.
COMING_AND_GOING = (
    "stragglers",
    "slowdown",
    "speed_spread",
    "device_seconds",
    "vanish",
    "away",
    "away_rounds",
    "join_late",
)
_OF_PRIVACY = ("epsilon", "delta", "noise_multiplier", "clip")
_ASYNCHRONOUS = ("buffer", "max_age", "age_exponent")

_FLAGS = {
    "use_public_labels": ("--no-public-labels", "--use-public-labels"),
    "tradeoff": ("--no-tradeoff", "--tradeoff"),
}


class RequestError(FedstillError):
    """The command line asks for something that does not exist or does not fit together."""


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """One run as asked for; None leaves the choice to the data set's defaults (see fedstill_sim.config).

    Where neither a data set nor a folder is named, the data is a program's own.
    """

    method: str
    dataset: str | None = None
    data: str | None = None  # a folder; absolute
    devices: int | None = None
    dirichlet: float | None = None
    families: tuple[str, ...] | None = None
    rounds: int | None = None
    seed: int = 0
    epochs: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    optimizer: str | None = None
    temperature: float | None = None
    soft_weight: float | None = None
    sharpen: float | None = None
    label_prior: float | None = None
    public_batch: int | None = None
    public_targets: int | None = None
    server_rate: float | None = None
    propagation_width: float | None = None
    weighting: tuple[str, ...] | None = None
    privacy: str | None = None
    epsilon: float | None = None
    delta: float | None = None
    noise_multiplier: float | None = None
    clip: float | None = None
    era_temperature: float | None = None
    era_exponent: float | None = None
    cache_rounds: int | None = None
    least_density_ratio: float | None = None
    most_ambiguity: float | None = None
    most_entropy: float | None = None
    anchors: int | None = None
    sharpness: float | None = None
    server_step: float | None = None
    label_anchor: float | None = None
    class_balance: float | None = None
    start_share: float | None = None
    held_out: float | None = None
    round_epochs: int | None = None
    encoding: str | None = None
    k: int | None = None
    uplink: str | None = None  # in words, see fedstill_proto.soft_labels.codec_spec
    downlink: str | None = None
    use_public_labels: bool | None = None
    start: str | None = None
    participation: float | None = None
    goal_count: int = 0
    over_selection: float = 1.0
    deadline: float | None = None
    mode: str = "rounds"
    buffer: int | None = None
    max_age: int | None = None
    age_exponent: float | None = None
    stragglers: float | None = None
    slowdown: float | None = None
    speed_spread: float | None = None
    device_seconds: float | None = None
    vanish: float | None = None
    away: float | None = None
    away_rounds: int | None = None
    join_late: float | None = None
    evaluate_every: int | None = None
    engine: str = "cohort"
    processes: int | None = None
    baselines: tuple[str, ...] = DEFAULT_BASELINES
    tradeoff: bool = True
    method_options: tuple[tuple[str, Any], ...] = ()

    def __post_init__(self) -> None:
        if self.dataset is not None and self.data is not None:
            raise RequestError(
                f"name one data set: a built-in one ({', '.join(DATASETS)}) or --data FOLDER with your own"
            )
        if self.dataset is not None:
            check_names("data set", [self.dataset], DATASETS)
        methods = method_names(text=self.is_text)
        if ":" not in self.method:
            check_names("--method", [self.method], methods)
        check_names("--baselines", self.baselines, methods)
        if self.families is not None:
            self._check_families()
        if self.is_text:
            self._check_text()
        if self.data is not None and not self.is_text and (self.devices or self.dirichlet is not None):
            raise RequestError(
                "--devices and --dirichlet split a built-in data set; a folder brings its own devices, one "
                "client_<i>.npz each"
            )
        if (self.k is not None) != (self.encoding == "top-k"):
            raise RequestError("--encoding top-k and --top-k K belong together")
        self._check_privacy()
        for name in ("uplink", "downlink"):
            check_codec(f"--{name}", getattr(self, name))
        asynchronous = [name for name in _ASYNCHRONOUS if getattr(self, name) is not None]
        if asynchronous and self.mode != "async":
            raise RequestError(f"{_option(asynchronous[0])} belongs to --mode async")
        coming_and_going = [name for name in COMING_AND_GOING if getattr(self, name) is not None]
        if coming_and_going and self.engine != "cohort":
            raise RequestError(
                f"{_option(coming_and_going[0])} is a matter of virtual time, which --engine {self.engine} "
                "has not; leave one of the two out"
            )

    @property
    def is_text(self) -> bool:
        """Whether devices learn next words."""
        return is_text(self.dataset, self.data)

    @property
    def is_assistant(self) -> bool:
        """Whether devices learn what utterances mean."""
        return is_assistant(self.dataset, self.data)

    def _check_privacy(self) -> None:
        asked = [name for name in _OF_PRIVACY if getattr(self, name) is not None]
        if asked and self.privacy is None:
            raise RequestError(f"{_option(asked[0])} belongs to --privacy central or local")
        if self.privacy is None:
            return
        if (self.epsilon is None) == (self.noise_multiplier is None):
            raise RequestError(
                f"--privacy {self.privacy}: say how private, by one of --epsilon and --noise-multiplier"
            )
        if self.privacy == "local" and self.engine != "cohort":
            raise RequestError(
                f"--privacy local: the noise of --engine {self.engine} is the system's, and no run could be "
                "repeated; leave one of the two out"
            )
        for name in self.baselines:
            if name not in (*noised_methods(), "local"):
                raise RequestError(
                    f"--baselines: {name!r} has no differential privacy; those that have it are "
                    f"{', '.join(noised_methods())}, and local sends nothing"
                )

    @property
    def named_families(self) -> dict[str, str]:
        """The families by name, and where those of one's own lie."""
        return FAMILIES.named(self.families or (), where="--families")

    def _check_families(self) -> None:
        """Refuse names that are not there, and families of another task; one's own are not imported yet."""
        named = self.named_families
        if not named:
            raise RequestError("--families: none given; fedstill-server families lists them")
        task = TEXT if self.is_text else UTTERANCES if self.is_assistant else ARRAYS
        suited = [name for name in FAMILIES.of_task(task) if name != "transformer"]  # which no keyboard takes
        for name in named:
            if not FAMILIES.is_own(name) and (name == "transformer" or FAMILIES.task_of(name) != task):
                raise RequestError(
                    f"--families: {name!r} is of {FAMILIES.task_of(name)}, and the devices learn {task}; "
                    f"there are {', '.join(suited)}, sizes of them, or module:name of your own"
                )

    def _check_text(self) -> None:
        if self.dirichlet is not None:
            raise RequestError("--dirichlet splits classes over devices; a keyboard's devices are writers")
        if self.engine != "cohort":
            raise RequestError(f"--engine {self.engine} runs no fleet of text; leave it out")
        if self.encoding is not None:
            raise RequestError(
                "--encoding is for classes; a keyboard's soft labels take --uplink and --downlink"
            )


def is_text(dataset: str | None, data: str | None) -> bool:
    """Whether it is the keyboard, or a folder of texts: one with public.txt."""
    return dataset in TEXT_DATASETS if data is None else (Path(data) / PUBLIC_FILE).is_file()


def is_assistant(dataset: str | None, data: str | None) -> bool:
    """Whether it is the assistant, or a folder of utterances: one with public.csv."""
    return dataset == "assistant" if data is None else (Path(data) / PUBLIC_UTTERANCES_FILE).is_file()


def check_codec(option: str, words: str | None) -> None:
    """Refuse words that are no codec."""
    try:
        if words is not None:
            parse_codec(words)
    except InvalidValue as error:
        raise RequestError(f"{option}: {error.problem}") from None


def method_names(*, text: bool) -> tuple[str, ...]:
    """All methods of a fleet that classifies arrays, or of one of text."""
    return methods_for(Labels.EACH_PLACE if text else Labels.ONE)


def check_names(what: str, names: Sequence[str], known: Sequence[str]) -> None:
    """Refuse an unknown, repeated or missing name."""
    for name in names:
        if name not in known:
            raise RequestError(f"{what}: {name!r} is unknown; there are {', '.join(known)}")
    if not names and what != "--baselines":
        raise RequestError(f"{what}: none given; there are {', '.join(known)}")
    if len(set(names)) != len(names):
        raise RequestError(f"{what}: {', '.join(names)} names one twice")


def names(text: str | None) -> tuple[str, ...] | None:
    """Comma-separated names; "none" is no name at all."""
    if text is None:
        return None
    return () if text.strip() == "none" else tuple(part.strip() for part in text.split(",") if part.strip())


def _option(field_name: str) -> str:
    return _OPTIONS.get(field_name, "--" + field_name.replace("_", "-"))


def command_line(request: RunRequest) -> str:
    """The `fedstill-sim run` command of a request, without --out and without what never changes a result."""
    return shlex.join(["fedstill-sim", "run", *option_words(request), "--out", "DIR"])


def option_words(request: RunRequest, *, skip: Sequence[str] = ()) -> list[str]:
    """The words of a command line that ask for this request."""
    words = [] if request.dataset is None or "dataset" in skip else [request.dataset]
    for field in fields(request):
        value = getattr(request, field.name)
        if field.name in ("dataset", "processes", "method_options", *skip):
            continue
        if value == field.default and field.name != "seed":
            continue
        option = _option(field.name)
        if field.name in _FLAGS:
            words.append(_FLAGS[field.name][bool(value)])
        else:
            words += [option, ",".join(value) or "none" if isinstance(value, tuple) else str(value)]
    return words
