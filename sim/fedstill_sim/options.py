"""The options that `run` and `compare` share, each with its help, in the panels of `--help`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from enum import StrEnum
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any

import typer

FLEET, LOCAL, EXCHANGE, PRIVACY, ROUND, COMING, MACHINE, OUTPUT = (
    "The fleet",
    "Local training",
    "What is exchanged",
    "Differential privacy of devices",
    "A round",
    "Devices that come, go and dawdle (in virtual time)",
    "This machine",
    "Output",
)


class OptimizerName(StrEnum):
    sgd = "sgd"
    momentum = "momentum"
    adamw = "adamw"


class EncodingName(StrEnum):
    float32 = "float32"
    float16 = "float16"
    uint8 = "uint8"
    top_k = "top-k"


class StartName(StrEnum):
    distilled = "distilled"
    random = "random"


class ModeName(StrEnum):
    rounds = "rounds"
    asynchronous = "async"


class PrivacyName(StrEnum):
    central = "central"
    local = "local"


class EngineName(StrEnum):
    cohort = "cohort"
    flower = "flower"


Dataset = Annotated[
    str | None,
    typer.Argument(
        metavar="DATASET",
        help="digits, mnist1d, keyboard or assistant, without a download; leave it out with --data.",
    ),
]
Data = Annotated[
    Path | None,
    typer.Option(
        help="Your own data: a folder with client_<i>.npz (x_train, y_train, x_test, y_test), public.npz "
        "(x, optionally y) and global_test.npz (x, y); or of a keyboard, <user>.txt, a text a line, and "
        "public.txt; or of an assistant, <user>.csv and public.csv (text,label).",
        rich_help_panel=FLEET,
    ),
]
Datasets = Annotated[
    str | None,
    typer.Argument(
        metavar="DATASETS",
        help="One or more with commas between: digits, mnist1d, keyboard, assistant; digits if none.",
    ),
]
DataFolders = Annotated[
    list[Path] | None,
    typer.Option(
        "--data",
        help="Your own data, as for [cyan]run[/]; may be given several times, beside data sets or alone.",
        rich_help_panel=FLEET,
    ),
]
Dirichlets = Annotated[
    str | None,
    typer.Option(
        "--dirichlet",
        metavar="ALPHA,...",
        help="Skew of classes over devices, one or more with commas between; none is the natural split.",
        rich_help_panel=FLEET,
    ),
]
Devices = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Virtual devices; 10 unless you say, 100 of the keyboard, one writer each, 20 of the assistant.",
        rich_help_panel=FLEET,
    ),
]
Dirichlet = Annotated[
    float | None,
    typer.Option(
        help="Skew of classes over devices: 0.1 is strong, 100 hardly any. Without it, up to ten devices "
        "are natural writers.",
        rich_help_panel=FLEET,
    ),
]
Families = Annotated[
    str | None,
    typer.Option(
        help="Student families, dealt out to devices in turn: mlp-small, mlp-wide, cnn, sizes such as "
        "mlp-64-32, or your own as module:Net or name=module:Net; of text, gru or sizes such as gru-80-224; "
        "of utterances, ngrams, ngrams-small.",
        rich_help_panel=FLEET,
    ),
]
Rounds = Annotated[
    int | None,
    typer.Option(
        min=1, help="Rounds; unless you say, 20, 40 of mnist1d, 10 of the assistant.", rich_help_panel=ROUND
    ),
]
Seed = Annotated[int, typer.Option(min=0, help="Everything random follows from it.", rich_help_panel=ROUND)]
Epochs = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="Passes over the private data in a round: 5, or 8 without public labels; of text 1.",
        rich_help_panel=LOCAL,
    ),
]
BatchSize = Annotated[
    int | None, typer.Option(min=1, help="Private examples in a step.", rich_help_panel=LOCAL)
]
LearningRate = Annotated[float | None, typer.Option("--lr", help="Learning rate.", rich_help_panel=LOCAL)]
OptimizerOption = Annotated[OptimizerName | None, typer.Option("--optimizer", rich_help_panel=LOCAL)]
Temperature = Annotated[
    float | None,
    typer.Option(help="Softens the soft labels: 1 leaves them as they are.", rich_help_panel=LOCAL),
]
SoftWeight = Annotated[
    float | None,
    typer.Option(
        min=0.0,
        max=1.0,
        help="Weight of the fleet's soft labels against the private labels.",
        rich_help_panel=LOCAL,
    ),
]
LabelPrior = Annotated[
    float | None,
    typer.Option(
        min=0.0,
        help="How strongly a device weighs in how often it sees each class when it answers for itself: 0 "
        "off, 1 Bayes.",
        rich_help_panel=LOCAL,
    ),
]
Sharpen = Annotated[
    float | None,
    typer.Option(
        help="Temperature that sharpens the consensus (entropy reduction, DS-FL); 0 takes the plain mean.",
        rich_help_panel=EXCHANGE,
    ),
]
PublicBatch = Annotated[
    int | None,
    typer.Option(min=0, help="Public examples that a round labels; 0 is all.", rich_help_panel=EXCHANGE),
]
PublicTargets = Annotated[
    int | None,
    typer.Option(
        min=0, help="Public examples whose soft labels a device gets; 0 is all.", rich_help_panel=EXCHANGE
    ),
]
ServerRate = Annotated[
    float | None,
    typer.Option(
        help="public-logits: how far the server follows the devices' consensus in a round.",
        rich_help_panel=EXCHANGE,
    ),
]
PropagationWidth = Annotated[
    float | None,
    typer.Option(
        min=0.0,
        help="public-logits, fedstill: how far what is learned of a public example reaches its neighbours, "
        "in median distances; 0 is off.",
        rich_help_panel=EXCHANGE,
    ),
]
Weighting = Annotated[
    str | None,
    typer.Option(
        help="How soft labels of public examples are weighed: class-presence, confidence, label-prior, "
        "agreement; several with commas.",
        rich_help_panel=EXCHANGE,
    ),
]
EraTemperature = Annotated[
    float | None,
    typer.Option(help="dsfl: temperature of the softmax over mean probabilities.", rich_help_panel=EXCHANGE),
]
EraExponent = Annotated[
    float | None,
    typer.Option(help="scarlet: exponent of the mean probabilities.", rich_help_panel=EXCHANGE),
]
CacheRounds = Annotated[
    int | None,
    typer.Option(
        min=1, help="scarlet: rounds until a soft label is asked for again.", rich_help_panel=EXCHANGE
    ),
]
LeastDensityRatio = Annotated[
    float | None,
    typer.Option(
        min=0.0,
        help="selective: a device answers public examples that are at least so common among its own, "
        "compared with the public ones; 0 is off.",
        rich_help_panel=EXCHANGE,
    ),
]
MostAmbiguity = Annotated[
    float | None,
    typer.Option(
        min=0.0,
        max=1.0,
        help="selective: a device leaves out public examples that its student is less sure of; 1 is off.",
        rich_help_panel=EXCHANGE,
    ),
]
MostEntropy = Annotated[
    float | None,
    typer.Option(
        min=0.0,
        max=1.0,
        help="selective: the server leaves out public examples whose mean says less; 1 is off.",
        rich_help_panel=EXCHANGE,
    ),
]
Anchors = Annotated[
    int | None,
    typer.Option(
        min=2,
        help="fedproto, fedtgp, fedhkd, fedgkt: public examples that features are compared with.",
        rich_help_panel=EXCHANGE,
    ),
]
Sharpness = Annotated[
    float | None,
    typer.Option(
        help="fedproto, fedtgp, fedhkd: how fast soft labels fall with the distance of prototypes.",
        rich_help_panel=EXCHANGE,
    ),
]
ServerStep = Annotated[
    float | None,
    typer.Option(
        help="fedstill: how far the fleet's soft labels move in the first round, root mean square; it falls "
        "from there.",
        rich_help_panel=EXCHANGE,
    ),
]
LabelAnchor = Annotated[
    float | None,
    typer.Option(
        min=0.0,
        max=1.0,
        help="fedstill: how far they go back to the public labels in each round, where those may be used.",
        rich_help_panel=EXCHANGE,
    ),
]
ClassBalance = Annotated[
    float | None,
    typer.Option(
        min=0.0,
        max=1.0,
        help="fedstill without public labels: how far the public set's classes are brought to be equally "
        "frequent; 0 is off.",
        rich_help_panel=EXCHANGE,
    ),
]
StartShare = Annotated[
    float | None,
    typer.Option(
        min=0.0,
        max=1.0,
        help="fedstill: share of the fleet's student in the one that a device keeps; the rest is personal.",
        rich_help_panel=LOCAL,
    ),
]
HeldOut = Annotated[
    float | None,
    typer.Option(
        min=0.0,
        max=0.5,
        help="fedstill: share of its examples on which a device judges whether to keep the fleet's student, "
        "its own or both; 0 is off.",
        rich_help_panel=LOCAL,
    ),
]
RoundEpochs = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="Passes over the public set in which teacher and students learn on the server in a round.",
        rich_help_panel=ROUND,
    ),
]
EncodingOption = Annotated[
    EncodingName | None,
    typer.Option(
        "--encoding", help="Soft labels on the wire, both ways; see --uplink.", rich_help_panel=EXCHANGE
    ),
]
TopK = Annotated[
    int | None,
    typer.Option(
        "--top-k", min=1, metavar="K", help="Classes kept by --encoding top-k.", rich_help_panel=EXCHANGE
    ),
]
Uplink = Annotated[
    str | None,
    typer.Option(
        metavar="WORDS",
        help="How devices code their soft labels, in words with commas: dense or topk<k> (the k likeliest "
        "classes and a rest bucket); <n>bit, 1 to 8 a probability (1bit is the likeliest class); shares or "
        "log, equal steps of the probability or of its logarithm; entropy, entropy coded; delta, against "
        "what the server sent of the same examples. For example dense,3bit,entropy,delta. Or float32, "
        "float16, uint8 alone.",
        rich_help_panel=EXCHANGE,
    ),
]
Downlink = Annotated[
    str | None,
    typer.Option(
        metavar="WORDS",
        help="How the server codes the soft labels of a task, in the words of --uplink.",
        rich_help_panel=EXCHANGE,
    ),
]
Privacy = Annotated[
    PrivacyName | None,
    typer.Option(
        help="central: the server clips what devices answer, and adds noise to the sum. local: each device "
        "clips and adds noise itself, and even the server sees nothing else.",
        rich_help_panel=PRIVACY,
    ),
]
Epsilon = Annotated[
    float | None,
    typer.Option(help="What all rounds together may cost a device, at --delta.", rich_help_panel=PRIVACY),
]
Epsilons = Annotated[
    str | None,
    typer.Option(
        "--epsilon",
        metavar="EPSILON,...",
        help="As for [cyan]run[/], one or more with commas between; none is a run without noise.",
        rich_help_panel=PRIVACY,
    ),
]
Delta = Annotated[
    float | None, typer.Option(help="1e-5 unless you say: less than 1 in devices.", rich_help_panel=PRIVACY)
]
NoiseMultiplier = Annotated[
    float | None,
    typer.Option(
        help="Instead of --epsilon: standard deviation of the noise, in units of twice the clip.",
        rich_help_panel=PRIVACY,
    ),
]
Clip = Annotated[
    float | None,
    typer.Option(
        help="L2 norm that a device's answer is cut to; what suits the method unless you say.",
        rich_help_panel=PRIVACY,
    ),
]
UsePublicLabels = Annotated[
    bool | None,
    typer.Option(
        "--use-public-labels/--no-public-labels",
        help="Whether the teacher may learn from the public set's labels, where it has any.",
        rich_help_panel=EXCHANGE,
    ),
]
Start = Annotated[
    StartName | None,
    typer.Option(
        help="Students start distilled from the teacher, or from random weights.", rich_help_panel=EXCHANGE
    ),
]
GoalCount = Annotated[
    int,
    typer.Option(
        min=0, help="A round ends when so many devices have answered; 0 asks all.", rich_help_panel=ROUND
    ),
]
OverSelection = Annotated[
    float, typer.Option(min=1.0, help="Ask so many times the goal count.", rich_help_panel=ROUND)
]
Deadline = Annotated[
    float | None,
    typer.Option(help="Seconds after which a round goes on with who has answered.", rich_help_panel=ROUND),
]
Participation = Annotated[
    float | None,
    typer.Option(
        min=0.0,
        max=1.0,
        help="Share of the devices that a round asks (or that work at a time in mode async); all if none.",
        rich_help_panel=ROUND,
    ),
]
Mode = Annotated[
    ModeName,
    typer.Option(
        help="rounds: the server waits for a cohort. async: it learns whenever --buffer summaries have come, "
        "and a device gets its next task when it has answered.",
        rich_help_panel=ROUND,
    ),
]
Buffer = Annotated[
    int | None,
    typer.Option(min=1, help="Mode async: summaries that make the server learn; 10.", rich_help_panel=ROUND),
]
MaxAge = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="Mode async: how often the server may have learned since the state that a summary answers; 10.",
        rich_help_panel=ROUND,
    ),
]
AgeExponent = Annotated[
    float | None,
    typer.Option(min=0.0, help="Mode async: a summary counts (1 + age)^-this; 0.5.", rich_help_panel=ROUND),
]
Stragglers = Annotated[
    float | None,
    typer.Option(
        min=0.0, max=1.0, help="Share of devices that are --slowdown times as slow.", rich_help_panel=COMING
    ),
]
Slowdown = Annotated[
    float | None, typer.Option(min=1.0, help="How slow stragglers are; 5.", rich_help_panel=COMING)
]
SpeedSpread = Annotated[
    float | None,
    typer.Option(
        min=0.0,
        help="How much devices differ in speed: standard deviation of log seconds; 0, in mode async 0.5.",
        rich_help_panel=COMING,
    ),
]
DeviceSeconds = Annotated[
    float | None,
    typer.Option(
        help="Virtual seconds that an ordinary device takes for a round; 60.", rich_help_panel=COMING
    ),
]
Vanish = Annotated[
    float | None,
    typer.Option(
        min=0.0, max=1.0, help="Share of devices that vanish in some round, for ever.", rich_help_panel=COMING
    ),
]
Away = Annotated[
    float | None,
    typer.Option(
        min=0.0,
        max=1.0,
        help="Share of devices that vanish in some round and are back --away-rounds later.",
        rich_help_panel=COMING,
    ),
]
AwayRounds = Annotated[
    int | None, typer.Option(min=1, help="How long they are away; 3.", rich_help_panel=COMING)
]
JoinLate = Annotated[
    float | None,
    typer.Option(
        min=0.0, max=1.0, help="Share of devices that join in some later round.", rich_help_panel=COMING
    ),
]
EvaluateEvery = Annotated[
    int | None,
    typer.Option(min=1, help="Evaluate every so many rounds, and after the last.", rich_help_panel=ROUND),
]
EngineOption = Annotated[
    EngineName,
    typer.Option(
        "--engine",
        help="cohort: this project's, for many devices at once. flower: Flower's own simulation on Ray, "
        "slower by far.",
        rich_help_panel=MACHINE,
    ),
]
Processes = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="Worker processes of one thread each; one a core unless you say. Never changes a result.",
        rich_help_panel=MACHINE,
    ),
]
Tradeoff = Annotated[
    bool,
    typer.Option(
        "--tradeoff/--no-tradeoff",
        help="Whether to measure, at the end, how soft_weight trades personal against global accuracy.",
        rich_help_panel=OUTPUT,
    ),
]
Jobs = Annotated[
    int,
    typer.Option(
        "--jobs",
        "-j",
        min=1,
        help="Runs of a comparison at a time, each in a process of its own. Never changes a result.",
        rich_help_panel=MACHINE,
    ),
]
RetryFailed = Annotated[
    bool, typer.Option("--retry-failed", help="Make the runs of a comparison that failed once more.")
]
Markdown = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="Write a comparison's table as Markdown, too; - prints it instead of the usual table.",
        rich_help_panel=OUTPUT,
    ),
]
Out = Annotated[
    Path, typer.Option("--out", "-o", help="The folder that will hold everything.", rich_help_panel=OUTPUT)
]
Force = Annotated[
    bool,
    typer.Option("--force", help="Replace what --out holds from an earlier run.", rich_help_panel=OUTPUT),
]
NoReport = Annotated[bool, typer.Option("--no-report", help="Write no HTML report.", rich_help_panel=OUTPUT)]
AsJson = Annotated[
    bool,
    typer.Option(
        "--json", help="Print the result as JSON on stdout; progress goes to stderr.", rich_help_panel=OUTPUT
    ),
]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print nothing but errors.", rich_help_panel=OUTPUT)
]


def _fleet(
    *,
    devices: Devices = None,
    families: Families = None,
    rounds: Rounds = None,
    participation: Participation = None,
    goal_count: GoalCount = 0,
    over_selection: OverSelection = 1.0,
    deadline: Deadline = None,
    mode: Mode = ModeName.rounds,
    buffer: Buffer = None,
    max_age: MaxAge = None,
    age_exponent: AgeExponent = None,
    stragglers: Stragglers = None,
    slowdown: Slowdown = None,
    speed_spread: SpeedSpread = None,
    device_seconds: DeviceSeconds = None,
    vanish: Vanish = None,
    away: Away = None,
    away_rounds: AwayRounds = None,
    join_late: JoinLate = None,
    evaluate_every: EvaluateEvery = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    learning_rate: LearningRate = None,
    optimizer: OptimizerOption = None,
    temperature: Temperature = None,
    soft_weight: SoftWeight = None,
    label_prior: LabelPrior = None,
    public_batch: PublicBatch = None,
    public_targets: PublicTargets = None,
    server_rate: ServerRate = None,
    propagation_width: PropagationWidth = None,
    weighting: Weighting = None,
    era_temperature: EraTemperature = None,
    era_exponent: EraExponent = None,
    cache_rounds: CacheRounds = None,
    least_density_ratio: LeastDensityRatio = None,
    most_ambiguity: MostAmbiguity = None,
    most_entropy: MostEntropy = None,
    anchors: Anchors = None,
    sharpness: Sharpness = None,
    server_step: ServerStep = None,
    label_anchor: LabelAnchor = None,
    class_balance: ClassBalance = None,
    start_share: StartShare = None,
    held_out: HeldOut = None,
    round_epochs: RoundEpochs = None,
    encoding: EncodingOption = None,
    k: TopK = None,
    uplink: Uplink = None,
    downlink: Downlink = None,
    sharpen: Sharpen = None,
    privacy: Privacy = None,
    delta: Delta = None,
    noise_multiplier: NoiseMultiplier = None,
    clip: Clip = None,
    use_public_labels: UsePublicLabels = None,
    start: Start = None,
) -> None:
    """What is the same for one run and for many."""


def of_a_fleet(command: Callable[..., None]) -> Callable[..., None]:
    """Adds the options of `_fleet` behind the command's own, and before those that it has behind a `*`.

    The command finds their values in the context.
    """
    own = list(signature(command, eval_str=True).parameters.values())
    before = [one for one in own if one.kind is not Parameter.KEYWORD_ONLY]
    shared = list(signature(_fleet, eval_str=True).parameters.values())
    every = [one.replace(kind=Parameter.KEYWORD_ONLY) for one in (*before, *shared, *own[len(before) :])]

    @functools.wraps(command)
    def called(**values: Any) -> None:
        command(**{one.name: values[one.name] for one in own})

    called.__signature__ = Signature(every)  # type: ignore[attr-defined]
    called.__annotations__ = {one.name: one.annotation for one in every}
    return called
