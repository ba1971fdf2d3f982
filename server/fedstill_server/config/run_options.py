"""What a run may be asked to do, in the simulator and in a real fleet alike: options, each declared once.

The commands that take them, their help and the documentation's tables are made from here; what they come to
is resolved in one place (fedstill_server.resolve).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from fedstill_proto.errors import InvalidValue
from fedstill_proto.messages import Optimizer
from fedstill_proto.package.input_rule import CHANNELS, NORMALIZATIONS
from fedstill_proto.package.target import TargetKind
from fedstill_proto.soft_labels.codec import Encoding
from fedstill_proto.soft_labels.codec_spec import parse_codec

from fedstill_server.config.codec import ConfigError
from fedstill_server.config.fleet import DEVICES, MODES, SELECTIONS, STARTS
from fedstill_server.config.options import check_options, no_option, option, options_of
from fedstill_server.consensus.group_means import GROUP_FOLDS
from fedstill_server.privacy.rule import MODES as PRIVACY_MODES

FLEET, LOCAL, EXCHANGE, PRIVACY, ROUND = (
    "The fleet",
    "Local training",
    "What is exchanged",
    "Differential privacy of devices",
    "A round",
)
_ENCODINGS = tuple(one.value for one in Encoding if one not in (Encoding.LEVELS, Encoding.DRAWN))
_OF_PRIVACY = ("epsilon", "delta", "noise_multiplier", "clip", "secure_sums")
_OF_SUMS = ("sum_group", "sum_dropouts", "sum_fold")
_ASYNCHRONOUS = ("buffer", "max_age", "age_exponent")


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What is asked for; None, and an empty text, leave it to what suits the method, the task and the data.

    method_options: those of the method, by name; a value may be a text as on a command line.
    """

    method: str = option(
        "",
        "What is exchanged: one of what fedstill-server methods lists, or your own as module:Class; "
        "by default fedstill, or next-words for text.",
        panel=EXCHANGE,
    )
    task: str = option(
        "",
        "What the fleet learns: arrays, text, utterances, or your own as module:Class. Unless you say, what "
        "the data are of, or in a real fleet the families.",
        panel=FLEET,
    )
    families: tuple[str, ...] = option(
        (),
        "Student families, dealt out to devices in turn: mlp-small, mlp-wide, cnn, sizes such as mlp-64-32, "
        "or your own as module:Net or name=module:Net; of text, gru or sizes such as gru-80-224; of "
        "utterances, ngrams, ngrams-small.",
        panel=FLEET,
    )
    target: str = option(
        TargetKind.SINGLE_LABEL.value,
        "What labels of your own data say: single-label, a class; multi-label, several of 0 and 1, K a row; "
        "regression, numbers, D a row.",
        choices=tuple(kind.value for kind in TargetKind),
        panel=FLEET,
    )
    teacher: str = option(
        "",
        "The network that learns from the fleet on the server: a family such as mlp-256-128, or your own as "
        "module:Net (a network, an estimator with predict_proba, or what makes one), or an .onnx file; by "
        "default what suits the task.",
        panel=FLEET,
    )
    teacher_trained: bool = option(
        False,
        "Whether --teacher knows the task already, and learns no labels before the first round.",
        panel=FLEET,
        flag="--teacher-trained",
    )
    normalize: str = option(
        "auto",
        "How inputs are scaled, by the public set; packages carry the rule to devices. bytes: uint8 by 1/255 "
        "alone. unit: to 0 to 1. standardize: each channel or column to mean 0 and standard deviation 1. "
        "auto: as bytes, but what is far from unit scale as standardize, unless a teacher knows it as it is "
        "(--teacher-trained, --teacher-frozen).",
        choices=NORMALIZATIONS,
        panel=FLEET,
    )
    channels: str = option(
        "auto",
        "Where the channels of an example are; auto: last where it looks so, as in 32 x 32 x 3.",
        choices=CHANNELS,
        panel=FLEET,
    )
    teacher_frozen: bool = option(
        False,
        "Whether --teacher teaches as it is and learns nothing, as .onnx files and estimators do anyway.",
        panel=FLEET,
        flag="--teacher-frozen",
    )
    device: str = option(
        "auto",
        "Where torch computes on the server: auto takes CUDA where there is one and a network is large. The "
        "same seed gives the same bits on the same device.",
        choices=DEVICES,
        panel=FLEET,
    )
    rounds: int | None = option(
        None,
        "Rounds; by default a real fleet's have no end, by its schedule, and with --privacy are 20; in the "
        "simulator 20, 40 for mnist1d, 10 for the assistant.",
        least=1,
        panel=ROUND,
    )
    seed: int = option(0, "Everything random follows from it.", least=0, panel=ROUND)
    epochs: int | None = option(
        None,
        "Passes over the private data in a round: 5, or 8 without public labels; of text 1.",
        least=0,
        panel=LOCAL,
    )
    batch_size: int | None = option(None, "Private examples in a step: 16, of text 8.", least=1, panel=LOCAL)
    learning_rate: float | None = option(
        None,
        "Learning rate: 0.02 with momentum, of utterances 0.03; of text 0.00005 with AdamW.",
        above=0,
        panel=LOCAL,
        flag="--lr --learning-rate",
    )
    optimizer: str | None = option(
        None,
        "The update rule of steps on private examples.",
        choices=tuple(one.value for one in Optimizer),
        panel=LOCAL,
    )
    temperature: float | None = option(
        None,
        "Softens the soft labels: 1 leaves them as they are.",
        least=1e-3,
        most=1e3,
        panel=LOCAL,
    )
    soft_weight: float | None = option(
        None,
        "Weight of the fleet's soft labels against the private labels.",
        least=0,
        most=1,
        panel=LOCAL,
    )
    public_batch: int | None = option(
        None, "Public examples that a round labels; 0 is all.", least=0, panel=EXCHANGE
    )
    public_targets: int | None = option(
        None, "Public examples whose soft labels a device gets; 0 is all.", least=0, panel=EXCHANGE
    )
    encoding: str | None = option(
        None, "Soft labels on the wire, both ways; see --uplink.", choices=_ENCODINGS, panel=EXCHANGE
    )
    top_k: int | None = option(
        None, "Classes kept by --encoding top-k.", least=1, metavar="K", panel=EXCHANGE
    )
    uplink: str | None = option(
        None,
        "How devices code their soft labels, in words with commas: dense or topk<k> (the k likeliest classes "
        "and a rest bucket); <n>bit, 1 to 8 a probability (1bit is the likeliest class); shares or log, "
        "equal steps of the probability or of its logarithm; entropy, entropy coded; delta, against what the "
        "server sent of the same examples. For example dense,3bit,entropy,delta. Or float32, float16, uint8 "
        "alone.",
        metavar="WORDS",
        panel=EXCHANGE,
    )
    downlink: str | None = option(
        None,
        "How the server codes the soft labels of a task, in the words of --uplink.",
        metavar="WORDS",
        panel=EXCHANGE,
    )
    use_public_labels: bool | None = option(
        None,
        "Whether the public set's labels may be learned, where it has any. Unless you say, fedstill and "
        "public-logits leave them out where they speak of some of the classes only.",
        panel=EXCHANGE,
        flag="--use-public-labels/--no-public-labels",
    )
    secret_labels: str | None = option(
        None,
        "With --no-public-labels: labels of public examples by which the server trusts devices, and which "
        "nobody learns. How many of the public set's own, such as 50; or a file with row,class on each line.",
        metavar="COUNT|FILE",
        panel=EXCHANGE,
    )
    start: str | None = option(
        None,
        "Students start distilled from the teacher, or from random weights.",
        choices=STARTS,
        panel=EXCHANGE,
    )
    round_epochs: int | None = option(
        None,
        "Passes over the public set in which teacher and students learn on the server in a round.",
        least=0,
        panel=ROUND,
    )
    privacy: str | None = option(
        None,
        "central: the server clips what devices answer, and adds noise to the sum. local: each device clips "
        "and adds noise itself, and even the server sees nothing else. distributed: each device adds a part "
        "of the noise, and the server sees the sum alone, which has all of it (see --secure-sums). In a real "
        "fleet, devices then count no right answers for the server.",
        choices=PRIVACY_MODES,
        panel=PRIVACY,
    )
    epsilon: float | None = option(
        None, "What all rounds together may cost a device, at --delta.", above=0, panel=PRIVACY
    )
    delta: float | None = option(
        None, "By default 1e-5; less than 1 in the number of devices.", above=0, below=1, panel=PRIVACY
    )
    noise_multiplier: float | None = option(
        None,
        "Instead of --epsilon: standard deviation of the noise, in units of twice the clip.",
        above=0,
        panel=PRIVACY,
    )
    clip: float | None = option(
        None,
        "L2 norm that a device's answer is clipped to; by default what suits the method.",
        above=0,
        panel=PRIVACY,
    )
    secure_sums: bool | None = option(
        None,
        "Whether the server learns the sum of what devices answer, and no single answer; with --privacy, and "
        "always with distributed noise.",
        panel=PRIVACY,
        flag="--secure-sums",
    )
    sum_group: int | None = option(
        None, "Devices that are summed together, about; 0 sums all of a round.", least=0, panel=PRIVACY
    )
    sum_dropouts: float | None = option(
        None,
        "Share of a group that may be gone after it has dealt its shares, and the sum still comes out with "
        "all of its noise; 0.2.",
        least=0,
        most=0.9,
        panel=PRIVACY,
    )
    sum_fold: str | None = option(
        None,
        "How the means of groups of --sum-group become one: mean, or the median of each number, which stands "
        "liars in less than half of the groups.",
        choices=tuple(GROUP_FOLDS),
        panel=PRIVACY,
    )
    goal_count: int = option(
        0, "A round ends when so many devices have answered; 0 asks all.", least=0, panel=ROUND
    )
    over_selection: float = option(1.0, "Ask so many times the goal count.", least=1, panel=ROUND)
    deadline: float | None = option(
        None, "Seconds after which a round goes on with who has answered; 600.", above=0, panel=ROUND
    )
    participation: float | None = option(
        None,
        "Share of the devices that a round asks (or that work at a time in mode async); all if none.",
        least=0,
        most=1,
        panel=ROUND,
    )
    select: str = option(
        "random",
        "Whom a round asks: random, or oort, those whose answers say much and come soon (arXiv 2010.06081); "
        "it needs --goal-count or --participation, and is not there with --privacy.",
        choices=SELECTIONS,
        panel=ROUND,
    )
    mode: str = option(
        "rounds",
        "rounds: the server waits for a cohort. async: it learns whenever --buffer summaries have come, and "
        "a device gets its next task when it has answered.",
        choices=MODES,
        panel=ROUND,
    )
    buffer: int | None = option(
        None, "Mode async: summaries that make the server learn; 10.", least=1, panel=ROUND
    )
    max_age: int | None = option(
        None,
        "Mode async: how often the server may have learned since the state that a summary answers; 10.",
        least=0,
        panel=ROUND,
    )
    age_exponent: float | None = option(
        None, "Mode async: a summary counts (1 + age)^-this; 0.5.", least=0, most=10, panel=ROUND
    )
    evaluate_every: int | None = option(
        None, "Evaluate every so many rounds, and after the last; 0 evaluates no other.", least=0, panel=ROUND
    )
    method_options: Mapping[str, Any] = no_option(dict)

    def __post_init__(self) -> None:
        check_options(self, texts=True)
        if (self.top_k is not None) != (self.encoding == Encoding.TOP_K.value):
            raise ConfigError("--encoding top-k and --top-k K belong together")
        for name in ("uplink", "downlink"):
            _check_codec(f"--{name}", getattr(self, name))
        if self.teacher_trained and not self.teacher:
            raise ConfigError("--teacher-trained belongs to --teacher")
        if self.teacher_frozen and not self.teacher:
            raise ConfigError("--teacher-frozen belongs to --teacher")
        if self.mode != "async":
            self._belongs(_ASYNCHRONOUS, "--mode async")
        if self.privacy is None:
            self._belongs(_OF_PRIVACY, "--privacy central, local or distributed")
        elif (self.epsilon is None) == (self.noise_multiplier is None):
            raise ConfigError(
                f"--privacy {self.privacy}: say how private, by one of --epsilon and --noise-multiplier"
            )

        if not self.sums_securely:
            self._belongs(_OF_SUMS, "--secure-sums, or --privacy distributed")

    @property
    def scaling(self) -> str:
        """How inputs are scaled: a teacher that knows its task knows them as they are."""
        knows = self.teacher_trained or self.teacher_frozen or self.teacher.endswith(".onnx")
        return "bytes" if self.normalize == "auto" and knows else self.normalize

    @property
    def sums_securely(self) -> bool:
        """Whether the server is to learn sums alone."""
        return bool(self.secure_sums) or self.privacy == "distributed"

    def _belongs(self, names: Iterable[str], where: str) -> None:
        """Refuse options that are said without what they are about."""
        found = {one.name: one for one in options_of(type(self))}
        for name in names:
            if getattr(self, name) is not None:
                raise ConfigError(f"{found[name].label} belongs to {where}")

    def words(self, *, skip: Iterable[str] = ()) -> list[str]:
        """The words of a command line that ask for this, without what is as by default but for the seed."""
        words: list[str] = []
        for one in options_of(type(self)):
            value = getattr(self, one.name)
            if one.name not in skip and (value != one.default or one.name == "seed"):
                words += one.words(value)
            if one.name == "method":
                words += [word for pair in self.method_options.items() for word in _set(*pair)]
        return words


def read_settings(texts: Iterable[str], *, where: str = "--set") -> dict[str, str]:
    """{"server_step": "0.4"} of "server_step=0.4": what `--set` sets, each once.

    Raises:
        ConfigError: For a text of another form, or a name that is set twice.
    """
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or not name.isidentifier():
            raise ConfigError(f"{where}: {text!r} is not of the form name=value, such as server_step=0.4")
        if name in found:
            raise ConfigError(f"{where}: {name} is set twice")
        found[name] = value.strip()
    return found


def _set(name: str, value: Any) -> list[str]:
    if isinstance(value, tuple | list):
        value = ",".join(map(str, value)) or "none"
    return ["--set", f"{name}={'none' if value is None else value}"]


def _check_codec(label: str, words: str | None) -> None:
    try:
        if words is not None:
            parse_codec(words)
    except InvalidValue as error:
        raise ConfigError(f"{label}: {error.problem}") from None
