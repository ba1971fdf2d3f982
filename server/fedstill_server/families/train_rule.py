"""What of a network a device trains, in words and without torch; adapting.py puts it into effect.

all            whatever the network itself does not hold frozen (requires_grad=False)
head           the last linear layer
lora:8         low-rank adapters of rank 8, scaled by 16 / 8, and the head; lora:8:4 scales them by 4 / 8
blocks.3.*     parameters by name; several patterns are joined by +
"""

from __future__ import annotations

from dataclasses import dataclass

from fedstill_server.plugins import PluginError

ALL, HEAD, LORA = "all", "head", "lora"
SEPARATOR = "+"
_FRESH_HEAD = "head:fresh"
_MOST_RANK = 4096


@dataclass(frozen=True, kw_only=True)
class TrainRule:
    """What trains; the rest is frozen.

    Attributes:
        kind: "all", "head", "lora", or "names".
        rank: Of low-rank adapters; 0 without any.
        alpha: They are scaled by alpha / rank.
        fresh: Whether the head begins anew rather than as the network has it.
        patterns: The names of parameters that train, where `*` stands for anything.
    """

    kind: str = ALL
    rank: int = 0
    alpha: float = 0.0
    fresh: bool = False
    patterns: tuple[str, ...] = ()

    @classmethod
    def of(cls, words: str, *, where: str = "train") -> TrainRule:
        """The rule that is written so (see above).

        Raises:
            PluginError: It is none of these.
        """
        words = words.strip()
        if words in (ALL, HEAD, _FRESH_HEAD):
            return cls(kind=words.partition(":")[0], fresh=words == _FRESH_HEAD)
        kind, colon, numbers = words.partition(":")
        if kind == LORA:
            return cls._of_adapters(words, numbers, where=where)
        patterns = tuple(pattern.strip() for pattern in words.split(SEPARATOR))
        if colon or not all(patterns) or any(pattern in (ALL, HEAD, LORA) for pattern in patterns):
            raise PluginError(
                f"{where}: {words!r} does not say what trains; give head, lora:8 (a rank), all, or names of "
                "parameters such as blocks.3.*, several joined by +"
            )
        return cls(kind="names", patterns=patterns)

    @classmethod
    def _of_adapters(cls, words: str, numbers: str, *, where: str) -> TrainRule:
        rank_word, _, alpha_word = numbers.partition(":")
        try:
            rank = int(rank_word)
            alpha = float(alpha_word) if alpha_word else 2.0 * rank
        except ValueError:
            rank, alpha = 0, 0.0
        if not 1 <= rank <= _MOST_RANK or not 0 < alpha < float("inf"):
            raise PluginError(
                f"{where}: {words!r}; give low-rank adapters as lora:RANK or lora:RANK:ALPHA, with a rank of "
                f"1 to {_MOST_RANK} and an alpha above 0, such as lora:8"
            )
        return cls(kind=LORA, rank=rank, alpha=alpha)
