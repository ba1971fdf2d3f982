"""The numbers that stand for our enumerations on the wire, both ways."""

from __future__ import annotations

from fedstill_proto.messages import Optimizer, StartSource, SummaryKind
from fedstill_proto.secure_sums.terms import SumNoise
from fedstill_proto.v1 import fedstill_pb2 as pb

KIND_NUMBERS: dict[SummaryKind, pb.SummaryKind] = {
    SummaryKind.NONE: pb.SUMMARY_KIND_NONE,
    SummaryKind.PUBLIC_SET: pb.SUMMARY_KIND_PUBLIC_SET,
    SummaryKind.CLASS_MEANS: pb.SUMMARY_KIND_CLASS_MEANS,
    SummaryKind.PARAMETERS: pb.SUMMARY_KIND_PARAMETERS,
    SummaryKind.CLASS_PROTOTYPES: pb.SUMMARY_KIND_CLASS_PROTOTYPES,
}
KINDS: dict[int, SummaryKind] = {int(number): kind for kind, number in KIND_NUMBERS.items()}

OPTIMIZER_NUMBERS: dict[Optimizer, pb.Optimizer] = {
    Optimizer.SGD: pb.OPTIMIZER_SGD,
    Optimizer.MOMENTUM: pb.OPTIMIZER_MOMENTUM,
    Optimizer.ADAMW: pb.OPTIMIZER_ADAMW,
}
OPTIMIZERS: dict[int, Optimizer] = {int(number): optimizer for optimizer, number in OPTIMIZER_NUMBERS.items()}

START_NUMBERS: dict[StartSource, pb.StartSource] = {
    StartSource.INSTALLED: pb.START_SOURCE_INSTALLED,
    StartSource.OWN: pb.START_SOURCE_OWN,
}
STARTS: dict[int, StartSource] = {int(number): source for source, number in START_NUMBERS.items()}

SUM_NOISE_NUMBERS: dict[SumNoise, pb.SumNoise] = {
    SumNoise.NONE: pb.SUM_NOISE_NONE,
    SumNoise.OWN: pb.SUM_NOISE_OWN,
    SumNoise.SHARED: pb.SUM_NOISE_SHARED,
}
SUM_NOISES: dict[int, SumNoise] = {int(number): noise for noise, number in SUM_NOISE_NUMBERS.items()}
