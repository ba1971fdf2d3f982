"""An inspection as text for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from fedstill_server.calibration import Calibration
from fedstill_server.inspection.agreement import Agreement
from fedstill_server.inspection.inspection import FormReport, Inspection
from fedstill_server.inspection.measuring import Speed
from fedstill_server.inspection.speed.latency import MeasuredLatency
from fedstill_server.inspection.stepping import StepSpeed
from fedstill_server.inspection.surrogate import Surrogate
from fedstill_server.inspection.tokens import TextFigures

_OPERATORS = 5  # that are named; the page has all


def text_of(it: Inspection) -> str:
    """All figures, a line or a few each."""
    tested = f"{it.test_examples:,d} test {'rows' if it.next_tokens else 'examples'}"
    lines = [
        f"{it.family}, {it.parameters:,d} parameters, {it.package_bytes:,d} B; task {it.task}, {tested}",
        f"measured on    {it.machine}",
    ]
    if it.next_tokens is not None:
        lines += _text_lines(it.next_tokens)
    lines += _calibration_lines(it)
    lines += _cost_lines(it.forms[0])
    for form in it.forms:
        lines += _form_lines(form, it.score_name)
    for one in it.corrupted:
        lines.append(f"{one.corruption:14s} {one.severity:g} {one.unit}: accuracy {percent(one.accuracy)}")
    lines += [f"outliers       {kind}: AUROC {auroc:.3f}" for kind, auroc in it.outliers]
    if it.agreement is not None:
        lines += _agreement_lines(it.agreement)
    if it.int8_agreement is not None:
        lines.append(f"int8           {percent(it.int8_agreement)} the same first choice as float32")
    if it.surrogate is not None:
        lines.append(_surrogate_line(it.surrogate))
    return "\n".join(lines)


def _calibration_lines(it: Inspection) -> Iterator[str]:
    one = it.plain
    if one is None:
        return
    yield (
        f"as it is       accuracy {percent(one.accuracy)}, ECE {percent(one.ece)}, Brier {one.brier:.3f}, "
        f"log-likelihood {-one.negative_log_likelihood:.3f}"
    )
    if it.scaled is not None:
        yield (
            f"scaled         temperature {it.scaled.temperature:.2f} from {it.scaling_examples} held-out "
            f"{'tokens' if it.next_tokens else 'examples'}: ECE {percent(it.scaled.ece)}, "
            f"Brier {it.scaled.brier:.3f}"
        )


def _text_lines(text: TextFigures) -> Iterator[str]:
    yield (
        f"next tokens    {text.tokens:,d} in {text.rows:,d} of {text.of_rows:,d} rows: perplexity "
        f"{text.perplexity:.2f}, first {percent(text.top1)}, among three {percent(text.top3)}"
    )
    if text.words:
        yield (
            f"without a key  of {text.words:,d} words, {percent(text.word_top3)} are shown before a letter "
            f"is typed, {percent(text.word_top1)} as the first"
        )
    for one in text.slices:
        yield (
            f"  {one.name:34s} {one.tokens:7,d}: first {percent(one.accuracy):>6s}, among three "
            f"{percent(one.shown):>6s}, perplexity {one.perplexity:8.2f}, ECE {percent(one.ece)}"
        )


def _cost_lines(form: FormReport) -> Iterator[str]:
    cost = form.cost
    outside = cost.parameters - cost.table_parameters
    yield (
        f"an example     {cost.multiply_adds:,d} multiply-adds, {cost.flops:,d} FLOPs; {cost.parameters:,d} "
        f"parameters, {outside:,d} outside tables that are looked up"
    )
    named = [f"{one.operator} {one.flops / max(cost.flops, 1):.0%}" for one in cost.operators[:_OPERATORS]]
    yield f"  of them      {', '.join(named)}"
    if cost.not_counted:
        names = ", ".join(f"{count} {name}" for name, count in cost.not_counted)
        yield f"  not counted  {names}"


def _form_lines(form: FormReport, score_name: str) -> Iterator[str]:
    quality = f"{score_name} {percent(form.score)}"
    if form.plain is not None:
        quality += f", ECE {percent(form.plain.ece)}"
    if form.next_tokens is not None:
        tokens = form.next_tokens
        quality = f"perplexity {tokens.perplexity:.2f}, {quality}, among three {percent(tokens.top3)}"
    same = f"{percent(form.agreement)} as float32"
    if form.cosine is not None:
        same = f"nearest text {same}, mean cosine {form.cosine:.4f}"
    yield f"{form.name:14s} {quality}; {form.stored_bytes:,d} B, {same}"
    cost = form.cost
    yield (
        f"  memory       weights {cost.weights_bytes:,d} B, activations {cost.activations_bytes:,d} B at once"
        + ("" if form.speed is None else f"; a process {_mb(form.speed.resident.before_bytes)} before, ")
        + ("" if form.speed is None else f"{_mb(form.speed.resident.peak_bytes)} at most")
    )
    if form.speed is not None:
        yield from _speed_lines(form.speed, score_name)
    if form.step is not None:
        yield from _step_lines(form.step)


def _speed_lines(speed: Speed, score_name: str) -> Iterator[str]:
    yield f"  an answer    {latency_line(speed.latency)}"
    if speed.loaded is not None:
        yield f"  under load   {latency_line(speed.loaded)}"
    each = ", ".join(f"{one.batch}: {one.examples_per_second:,.0f}" for one in speed.throughput)
    yield f"  throughput   examples a second by batch: {each}"
    energy, efficiency = speed.energy, speed.efficiency
    yield (
        f"  energy       {energy.microjoules_per_answer:.1f} uJ an answer ({energy.how}); "
        f"{energy.cpu_microseconds_per_answer:.1f} us of CPU; {efficiency.answers_per_joule:,.0f} answers a "
        f"joule, {efficiency.right_answers_per_joule:,.0f} right ones; {score_name} a watt "
        f"{efficiency.accuracy_per_watt:.3f}"
    )
    price = speed.price
    yield (
        f"  a million    {price.energy:.4f} for energy at {price.kwh:g} a kWh, {price.machine:.4f} for "
        f"{price.hours:.3f} machine-hours at {price.machine_hour:g} ({price.machine_batched:.4f} in batches "
        f"of {speed.best.batch})"
    )


def _step_lines(step: StepSpeed) -> Iterator[str]:
    yield (
        f"  a token      {latency_line(step.latency)}; {step.cost.flops:,d} FLOPs, state "
        f"{step.state_bytes:,d} B, {step.tokens_per_second:,.0f} tokens a second"
    )
    if step.loaded is not None:
        yield f"  under load   {latency_line(step.loaded)}"


def latency_line(one: MeasuredLatency) -> str:
    """The percentiles and the jitter of single answers."""
    under = f", {one.busy_processes} busy processes" if one.busy_processes else ""
    return (
        f"p50 {one.p50_us:,.1f} us, p95 {one.p95_us:,.1f}, p99 {one.p99_us:,.1f}, jitter {one.jitter_us:,.1f}"
        f" ({one.answers:,d} answers{under})"
    )


def _agreement_lines(found: Agreement) -> Iterator[str]:
    yield f"agreement      {percent(found.overall)} with the teacher"
    for one in found.slices:
        yield (
            f"  {one.name:34s} {percent(one.agreement):>7s} of {one.examples}; student "
            f"{percent(one.student_accuracy)}, teacher {percent(one.teacher_accuracy)}"
        )
    yield f"worst slice    {found.worst.name}: {percent(found.worst.agreement)} of {found.worst.examples}"


def _surrogate_line(tree: Surrogate) -> str:
    return (
        f"surrogate      a tree of depth {tree.depth} with {tree.leaves} leaves answers as the student does "
        f"in {percent(tree.fidelity)} (fidelity)"
    )


def percent(share: float) -> str:
    """A share from 0 to 1, with one digit behind the point."""
    return f"{share:.1%}"


def _mb(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


def calibration_row(name: str, one: Calibration) -> tuple[str, ...]:
    """A row of a table of calibrations."""
    return (
        name,
        f"{one.temperature:.2f}",
        percent(one.accuracy),
        percent(one.ece),
        f"{one.brier:.3f}",
        f"{one.negative_log_likelihood:.3f}",
    )
