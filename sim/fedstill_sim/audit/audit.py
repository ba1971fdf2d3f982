"""An audit: the configured fleet is run, and three attacks are made on what a device of it really sends."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from fedstill_proto.arrays import Float64Array
from fedstill_proto.errors import unknown_name
from fedstill_proto.messages import SoftLabelSummary, SummaryKind
from fedstill_proto.readers.classes import UNLABELLED

from fedstill_sim.audit.label_distribution import (
    LabelDistributionResult,
    estimated_histograms,
    label_distribution_result,
)
from fedstill_sim.audit.membership import (
    MembershipResult,
    confidence_ratios,
    device_result,
    examples_result,
    likelihood_ratios,
)
from fedstill_sim.audit.noise_check import NoiseResult, check_noise
from fedstill_sim.audit.observed_run import AuditError, ObservedRun, observe_run
from fedstill_sim.audit.populations import Population, PopulationMaker
from fedstill_sim.audit.progress import AuditProgress
from fedstill_sim.audit.projection import Projection
from fedstill_sim.audit.reconstruction import (
    ReconstructionResult,
    class_means_of,
    estimated_means,
    first_layer_means,
    reconstruction_result,
)
from fedstill_sim.audit.result import AuditResult, promise_of
from fedstill_sim.audit.seen_vectors import SeenVectors
from fedstill_sim.audit.shadow_fleet import ShadowFleet
from fedstill_sim.config import RunConfig
from fedstill_sim.data.fleet import MOST_LISTED, FleetData
from fedstill_sim.data.pools import DEFAULT_ALPHA

_DIRECTIONS = 96  # in which the answers of a round are seen, and then those of all rounds
_RELEASES = 8  # of one answer, to test its noise
USUAL_DELTA = 1e-5  # where a configuration names none


@dataclass(frozen=True, kw_only=True)
class AuditPlan:
    """How much an audit does.

    Attributes:
        shadows: Shadow devices of each kind from which the adversary learns.
        runs: Answers of each kind that the attacks are counted on.
        device: The name of the device that is watched; None is one with a middling number of examples.
        seed: Decides every draw.
    """

    shadows: int = 128
    runs: int = 128
    device: str | None = None
    seed: int = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class _Answers:
    """What is seen of a population.

    Attributes:
        seen: The answers of all rounds, projected [shadows, k].
        stated: The histograms that the last answers state [shadows, classes]; None where they do not.
        confidence: How sure the last answers' parameters are of the true label of each example whose
            membership is guessed, of halves alone [halves, examples]; None where no parameters are seen.
        moved: What is seen of the first shadow with the watched device's own examples, round by round.
    """

    seen: Float64Array
    stated: Float64Array | None
    confidence: Float64Array | None
    moved: Sequence[Float64Array]


def audit_run(data: FleetData, config: RunConfig, plan: AuditPlan, progress: AuditProgress) -> AuditResult:
    """Audit a configuration.

    Args:
        data: The fleet's data.
        config: Its configuration.
        plan: How much is done.
        progress: Told of each round.

    Raises:
        AuditError: The configuration cannot be audited.
    """
    _check_auditable(data, config)
    device = _watched(data, plan.device)
    answers = PopulationMaker.sizes(plan.shadows, plan.runs)
    progress.expect(config.fleet.rounds * (data.devices + sum(answers)))
    with tempfile.TemporaryDirectory(prefix="fedstill-audit-") as place:
        progress.phase(f"running {config.fleet.method.name} on {data.devices} devices", weight=data.devices)
        observed = observe_run(data, config, Path(place) / "run", device=device, progress=progress)
        return attack(observed, plan, progress)


def attack(observed: ObservedRun, plan: AuditPlan, progress: AuditProgress) -> AuditResult:
    """Make the attacks on a run that was observed; another seed draws shadows, answers and noise anew."""
    alpha = observed.config.simulation.dirichlet or DEFAULT_ALPHA
    made = PopulationMaker(data=observed.data, device=observed.device, alpha=alpha, seed=plan.seed)
    shadows, judged = made.shadows(plan.shadows), made.judged(plan.runs)
    return _Audit(observed, plan, made, progress).result(shadows, judged)


def noise_releases(observed: ObservedRun, *, many: int, seed: int) -> Float64Array:
    """Releases [many, d] of the watched device's first answer, each with noise of its own."""
    vectors = SeenVectors.of(observed)
    fleet = ShadowFleet(
        observed=observed,
        private=[observed.data.train[observed.device]],
        names=[observed.data.device_names[observed.device]],
    )
    releases = []
    for number in range(many):
        noise_seed = 1_000_003 * (seed + 1) + number
        for one, summaries in fleet.answers(noise_seed=noise_seed, rounds=1):
            releases.append(vectors.seen(one, summaries[0], noise_seed=noise_seed))
    return np.stack(releases)


def _check_auditable(data: FleetData, config: RunConfig) -> None:
    """Refuse what the attacks cannot be made on, by the option's name."""
    if data.label_shape:
        raise AuditError("an audit needs examples with one label each; text has one at each place")
    if config.fleet.mode != "rounds":
        raise AuditError(f"--mode {config.fleet.mode} cannot be audited; audit the same with --mode rounds")
    if config.simulation.engine.name != "cohort":
        raise AuditError("an audit needs --engine cohort; the devices' code is the same")
    if config.fleet.secure_sums is not None:
        raise AuditError(
            "--secure-sums: the server sees no answer, and there is none to attack; audit the same without "
            "it, or with --privacy central, whose sum has noise as large"
        )
    if config.simulation.attack is not None:
        raise AuditError("an audit is of honest devices; leave out --attack and --adversaries")
    if config.simulation.participation is not None:
        raise AuditError(
            "devices that come, go and dawdle cannot be audited; leave out --stragglers, --vanish and the "
            "like: what a device answers does not depend on them"
        )


def _watched(data: FleetData, name: str | None) -> int:
    """The number of a device, or of one with a middling number of examples."""
    if name is None:
        order = np.argsort(data.train.counts, kind="stable")
        return int(order[len(order) // 2])
    if name not in data.device_names:
        raise unknown_name("--watch", name, data.device_names[:MOST_LISTED])
    return data.device_names.index(name)


class _Audit:
    """The attacks on one observed run."""

    def __init__(
        self, observed: ObservedRun, plan: AuditPlan, made: PopulationMaker, progress: AuditProgress
    ) -> None:
        self._observed, self._plan, self._made, self._progress = observed, plan, made, progress
        self._vectors = SeenVectors.of(observed)
        rule = self._vectors.rule
        self._noise = 0.0 if rule is None else rule.noising.sigma
        self._delta = USUAL_DELTA if rule is None else rule.delta

    def result(self, shadows: Population, judged: Population) -> AuditResult:
        """Make the attacks."""
        observed = self._observed
        projections: list[Projection] = []
        known = self._answers(shadows, projections, noiseless=True)
        attacked = self._answers(judged, projections, noiseless=False)
        last = Projection.fit(known.seen, most=_DIRECTIONS)
        own, seen = shadows.parts(last.of(known.seen)), judged.parts(last.of(attacked.seen))
        return AuditResult(
            command=observed.config.simulation.command,
            method=observed.config.fleet.method.name,
            device=observed.data.device_names[observed.device],
            examples=int(observed.data.train.counts[observed.device]),
            rounds=len(observed.rounds),
            shadows=self._plan.shadows,
            runs=self._plan.runs,
            seed=self._plan.seed,
            promise=promise_of(self._vectors.rule, len(observed.rounds)),
            examples_told=self._examples(
                (own[0], shadows, known.confidence), (seen[0], judged, attacked.confidence)
            ),
            devices_told=self._devices(own[1:3], seen[1:3]),
            labels=self._labels((own[3], shadows), (seen[3], judged), attacked.stated),
            reconstruction=self._reconstruction((own[3], shadows), seen[1][0], attacked.moved),
            noise=self._checked_noise(),
        )

    def _examples(
        self,
        own: tuple[Float64Array, Population, Float64Array | None],
        seen: tuple[Float64Array, Population, Float64Array | None],
    ) -> MembershipResult:
        members = own[1].members
        scores, exposure = likelihood_ratios(own[0], members, seen[0], noise=self._noise)
        if own[2] is not None and seen[2] is not None:
            scores = scores + confidence_ratios(own[2], members, seen[2])
        return examples_result(scores, seen[1].members, exposure, delta=self._delta, seed=self._plan.seed)

    def _devices(self, own: Sequence[Float64Array], seen: Sequence[Float64Array]) -> MembershipResult:
        which = np.concatenate([np.full(len(part), part is own[0]) for part in own])[:, None]
        one, other = (
            likelihood_ratios(np.concatenate(own), which, part, noise=self._noise)[0][:, 0] for part in seen
        )
        return device_result(one, other, delta=self._delta, seed=self._plan.seed)

    def _labels(
        self,
        own: tuple[Float64Array, Population],
        seen: tuple[Float64Array, Population],
        stated: Float64Array | None,
    ) -> LabelDistributionResult:
        told = estimated_histograms(own[0], own[1].histograms, seen[0], noise=self._noise)
        return label_distribution_result(
            told if stated is None else seen[1].parts(stated)[3],
            seen[1].histograms,
            self._made.everyones_histogram,
            stated=stated is not None,
            seed=self._plan.seed,
        )

    def _reconstruction(
        self, own: tuple[Float64Array, Population], seen: Float64Array, moved: Sequence[Float64Array]
    ) -> ReconstructionResult:
        data, observed = self._observed.data, self._observed
        x, y, classes = np.asarray(data.x), np.asarray(data.y), data.classes
        means = np.stack([class_means_of(x[rows], y[rows], classes) for rows in own[1].mixed])
        candidates = [estimated_means(own[0], means, seen, noise=self._noise)]
        pixels = means.shape[2]
        for one, vector in zip(observed.rounds, moved, strict=True):
            if one.decoded.request.kind is SummaryKind.PARAMETERS:
                start = one.state.students[observed.family]
                candidates.append(first_layer_means(vector, start, pixels))
        public_x = np.asarray(data.public_x)
        # Without labels the public set has one mean.
        labelled = data.public_y is not None and UNLABELLED not in data.public_y
        public_y = np.asarray(data.public_y) if labelled else np.zeros(len(public_x), np.int64)
        return reconstruction_result(
            np.concatenate(candidates),
            x[data.train[observed.device]],
            y[data.train[observed.device]],
            public_x=public_x,
            known_means=np.concatenate([class_means_of(public_x, public_y, classes), means.mean(axis=0)]),
        )

    def _answers(self, population: Population, fitted: list[Projection], *, noiseless: bool) -> _Answers:
        """All answers of a population; the adversary's own come first, have no noise, and are fitted."""
        what = "the adversary's own devices answer" if noiseless else "devices answer that are attacked"
        private = population.private
        self._progress.phase(f"{len(private)} {what}", weight=len(private))
        fleet = ShadowFleet(
            observed=self._observed,
            private=private,
            names=[f"{'own' if noiseless else 'seen'}-{number}" for number in range(len(private))],
        )
        seed = 2 * self._plan.seed + (0 if noiseless else 1)
        parts: list[Float64Array] = []
        moved: list[Float64Array] = []
        last: list[SoftLabelSummary] = []
        for number, (one, last) in enumerate(fleet.answers(noise_seed=seed, noiseless=noiseless)):
            # The server's noise is drawn anew for each shadow; that of devices comes by their names.
            seen = np.stack(
                [
                    self._vectors.seen(one, summary, noise_seed=seed * len(private) + at, noiseless=noiseless)
                    for at, summary in enumerate(last)
                ]
            )
            if noiseless:
                fitted.append(Projection.fit(seen, most=_DIRECTIONS))
            parts.append(fitted[number].of(seen))
            moved.append(seen[len(population.halves)])
            self._progress.step()
        return _Answers(
            seen=np.concatenate(parts, axis=1),
            stated=self._stated(last),
            confidence=self._confidence(last[: len(population.halves)], population),
            moved=moved,
        )

    def _stated(self, summaries: Sequence[SoftLabelSummary]) -> Float64Array | None:
        """The histograms [shadows, classes] that answers state; None where one of them does not."""
        classes = self._observed.config.fleet.classes
        if self._vectors.rule is not None or not all(len(one.statistics.class_examples) for one in summaries):
            return None
        histograms = np.zeros((len(summaries), classes))
        for row, summary in zip(histograms, summaries, strict=True):
            row[summary.statistics.present_classes] = summary.statistics.class_examples
        return np.asarray(histograms / histograms.sum(axis=1, keepdims=True))

    def _confidence(
        self, summaries: Sequence[SoftLabelSummary], population: Population
    ) -> Float64Array | None:
        """The log odds [shadows, examples] that answered students give to the examples' own labels."""
        if self._vectors.rule is not None or not all(one.statistics.parameters for one in summaries):
            return None
        data, method = self._observed.data, self._vectors.method
        x, labels = np.asarray(data.x)[population.examples], np.asarray(data.y)[population.examples]
        family = self._observed.family
        told = np.stack(
            [
                method.student_says(family, one.statistics.parameters, x, temperature=1.0)[
                    np.arange(len(x)), labels
                ]
                for one in summaries
            ]
        ).astype(np.float64)
        told = np.clip(told, 1e-7, 1 - 1e-7)
        return np.asarray(np.log(told / (1 - told)))

    def _checked_noise(self) -> NoiseResult | None:
        """The noise of several releases of the watched device's first answer; None where none is promised."""
        rule = self._vectors.rule
        if rule is None:
            return None
        releases = noise_releases(self._observed, many=_RELEASES, seed=self._plan.seed)
        return check_noise(releases, deviation=rule.noising.sigma, clip=rule.clip)
