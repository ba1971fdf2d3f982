"""Why a package is refused."""

from __future__ import annotations

from fedstill_proto.errors import FedstillError


class PackageError(FedstillError):
    """A package is not what it should be; `check` names the check that it did not pass.

    The checks: signature, rollback, expired, digest, size, missing, metadata, manifest, agent-version, graph,
    operator, vocabulary, intents, slots, constraints, version, unreachable, trust, disk.
    """

    def __init__(self, check: str, problem: str) -> None:
        super().__init__(f"{check}: {problem}")
        self.check = check
        self.problem = problem

    def __reduce__(self) -> tuple[type[PackageError], tuple[str, str]]:
        return type(self), (self.check, self.problem)
