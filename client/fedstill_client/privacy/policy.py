"""What a device ever does for its fleet: policy.json in an agent's home, which no server can change.

    {"answers": ["public-set"], "most_epochs": 20, ...}

A rule that the file leaves out has its default, and so have all rules where there is no file: the tasks of
the default method pass, and what a hostile server would ask does not (docs/security.md). A plain device
folder has no policy, and does what it is asked.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from fedstill_proto.errors import FedstillError, InvalidValue, unknown_name
from fedstill_proto.privacy import rho_of_epsilon
from fedstill_proto.system.files import replace_file
from fedstill_proto.task_bounds import TaskBounds, rule

from fedstill_client.privacy.most_seconds import POLICY_FILE, USUAL_SECONDS

EARLIER_FILE = "privacy.json"
"""Where earlier releases kept a budget: {"epsilon": 8.0, "delta": 1e-05, "least_noise_multiplier": 1.0}"""


@dataclass(frozen=True, kw_only=True)
class DevicePolicy(TaskBounds):
    """The rules of a device's owner; each field's metadata says what it means and costs.

    Raises:
        InvalidValue: A rule holds what it cannot, named with its limit.
    """

    rounds_of_release: int = rule(
        1000, "Rounds that are begun with one installed student package; a newer one begins anew."
    )
    bytes_a_day: int = rule(
        500_000,
        "Bytes of answers without noise within 24 hours, before entropy coding; parameters do not count.",
    )
    bytes_in_all: int = rule(
        20_000_000,
        "The same for as long as the home lasts; a run of 20 rounds takes 32,000 for ten classes.",
        most=1e15,
    )
    epsilon: float = rule(
        50.0, "What all noised answers may cost together, at delta, for as long as the home lasts.", most=1e3
    )
    delta: float = rule(1e-5, "The delta of that budget.", least=1e-100, most=0.999)
    least_noise_multiplier: float = rule(
        0.5, "The least noise of one answer that has noise; with less, it would be as one without."
    )
    least_group_size: int = rule(
        10, "Devices, this one included, whose sum a server may learn where it sees sums alone.", least=2
    )
    most_steps: int = rule(20_000, "Steps of training in a round; epochs beyond them are left out, unsaid.")
    most_seconds: float = rule(
        USUAL_SECONDS, "Seconds that a round takes; then it stops, and answers not-now."
    )
    most_memory_mb: int = rule(
        1024, "Memory that a round may take beyond what the process has when it begins.", least=64
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.epsilon <= 0:
            raise InvalidValue("epsilon", f"{self.epsilon!r} is not a number above 0")

    @property
    def rho(self) -> float:
        """The budget of noised answers in zCDP, in which they add up."""
        return rho_of_epsilon(self.epsilon, self.delta)

    def allowing(self, words: Iterable[str]) -> DevicePolicy:
        """The same, with these answers, encodings, starts or protection; raises UnknownName."""
        return self._with_words(words, allowed=True)

    def denying(self, words: Iterable[str]) -> DevicePolicy:
        """The same, without these answers, encodings, starts or protection; raises UnknownName."""
        return self._with_words(words, allowed=False)

    def setting(self, assignments: Iterable[str]) -> DevicePolicy:
        """The same, with rules as `rule=value` says; the words of a rule are divided by commas.

        Raises:
            FedstillError: There is no such rule, or it cannot hold the value.
        """
        changes: dict[str, Any] = {}
        defaults = {one.name: one.default for one in fields(self)}
        for assignment in assignments:
            name, equals, text = assignment.partition("=")
            if not equals:
                raise FedstillError(f"--set {assignment}: give RULE=VALUE, such as most_epochs=10.")
            if name not in defaults:
                raise unknown_name("--set: rule", name, defaults)
            changes[name] = _read_value(name, text, defaults[name])
        return replace(self, **changes)

    @classmethod
    def read(cls, folder: Path) -> DevicePolicy:
        """The policy of an agent's home; the default where none is set. A damaged one is refused."""
        for file, of_json in ((folder / POLICY_FILE, cls.from_json), (folder / EARLIER_FILE, _of_budget)):
            try:
                return of_json(json.loads(file.read_bytes()))
            except FileNotFoundError:
                continue
            except OSError as error:
                raise FedstillError(f"{file}: cannot be read: {error.strerror}.") from None
            except (ValueError, FedstillError) as error:
                raise FedstillError(
                    f"{file}: cannot be used: {error}; set it anew: fedstill-agent policy --default"
                ) from None
        return cls()

    def write(self, folder: Path) -> None:
        """Put it in place, whole or not at all, and what an earlier release kept out of it."""
        replace_file(folder / POLICY_FILE, (json.dumps(self.to_json(), indent=1) + "\n").encode())
        (folder / EARLIER_FILE).unlink(missing_ok=True)

    def _with_words(self, words: Iterable[str], *, allowed: bool) -> DevicePolicy:
        rules = {one.name: one.metadata["words"] for one in fields(self) if one.metadata["words"]}
        holding = {word: name for name, known in rules.items() for word in known}
        changes: dict[str, Any] = {}
        for word in words:
            if word not in holding:
                raise unknown_name("--allow" if allowed else "--deny", word, holding)
            name = holding[word]
            now = set(changes.get(name, getattr(self, name)))
            now = now | {word} if allowed else now - {word}
            changes[name] = tuple(known for known in rules[name] if known in now)
        return replace(self, **changes)


def adopt(folder: Path) -> str | None:
    """Give a home of an earlier release its policy; says so in a line for its owner, or None for no news."""
    if (folder / POLICY_FILE).exists():
        return None
    earlier = (folder / EARLIER_FILE).exists()
    policy = DevicePolicy.read(folder)
    policy.write(folder)
    of = (
        f"the default policy with your budget of epsilon {policy.epsilon:g}"
        if earlier
        else "the default policy"
    )
    return (
        f"this device has {of} from now on ({folder / POLICY_FILE}): tasks that ask for more are refused; "
        "fedstill-agent policy shows and sets it"
    )


def _of_budget(given: object) -> DevicePolicy:
    """The policy that an earlier release's budget comes to: nothing leaves without noise."""
    known = {"epsilon", "delta", "least_noise_multiplier"}
    if not isinstance(given, dict) or not {"epsilon"} <= given.keys() <= known:
        raise FedstillError(f"give epsilon, and maybe delta, least_noise_multiplier: {given}.")
    return DevicePolicy(**{"least_noise_multiplier": 0.0, **given})


def _read_value(name: str, text: str, default: object) -> object:
    if isinstance(default, tuple):
        return tuple(word for word in text.split(",") if word)
    if isinstance(default, bool):
        if text not in ("true", "false"):
            raise InvalidValue(name, f"{text!r} is neither true nor false")
        return text == "true"
    try:
        return int(text) if isinstance(default, int) else float(text)
    except ValueError:
        kind = "a whole number" if isinstance(default, int) else "a number"
        raise InvalidValue(name, f"{text!r} is not {kind}") from None
