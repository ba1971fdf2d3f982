"""Texts to distil from, gathered when the benchmark runs: nothing is fetched, and nobody's data is read.

documentation   sentences of the docstrings of Python itself and of packages that fedstill needs
plays           speeches of the public plays of the keyboard's task, cut into sentences
homes           what is said to a home, by the templates of Home Assistant
everyday        sentences of a small grammar (everyday.py)
words           frequent words in a random order, so that every word is met
names           names of signs and emoji in the Unicode standard

Packages whose documentation judges the students (held_out.py) are not among them.
"""

from __future__ import annotations

import ast
import re
import sysconfig
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import util
from pathlib import Path

import numpy as np
from fedstill_sim.tasks.text.data import load_keyboard
from fedstill_sim.tasks.utterances.data import Amounts, load_assistant
from wordfreq import top_n_list, word_frequency

from benchmarks.sentences.everyday import everyday_sentences

PACKAGES = ("scipy", "onnxruntime", "pip", "rich", "click", "pydantic", "httpx", "jinja2")
_FREQUENT = 12_000  # words of which nine in ten of a sentence of documentation are
_WORDS = 25_000  # from which random ones are drawn
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")
_PARAGRAPH_END = re.compile(r"\n\s*\n|\n\s*[-*:>]")
_UNLIKE_PROSE = re.compile(r"[`{}<>=|\\_\[\]@#*/~^$%+]|::|\.\.\.|--|\w\.\w|[a-z][A-Z]")
_WORD = re.compile(r"[a-z']+")


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """How many texts of each kind are wanted; there may be fewer."""

    documentation: int = 6500
    plays: int = 1500
    homes: int = 1500
    everyday: int = 6500
    words: int = 3500
    names: int = 700

    def of(self, total: int) -> Mixture:
        """The same shares of another total."""
        share = total / sum(vars(self).values())
        return Mixture(**{kind: round(count * share) for kind, count in vars(self).items()})


def gathered(mixture: Mixture, *, seed: int) -> list[str]:
    """Different texts of all kinds, in a random order."""
    random = np.random.default_rng(seed)
    documentation = sorted({text for name in PACKAGES for text in documented(name) if is_prose(text)})
    kinds = [
        _some(documentation, mixture.documentation, random),
        _some(_plays(), mixture.plays, random),
        homes(mixture.homes, seed=seed),
        everyday_sentences(mixture.everyday, random),
        _random_words(mixture.words, random),
        _some(_sign_names(), mixture.names, random),
    ]
    texts = sorted({text for kind in kinds for text in kind})
    return _some(texts, len(texts), random)


def documented(package: str) -> Iterator[str]:
    """Sentences of a package's docstrings, or of Python's own for ""."""
    for docstring in docstrings(package):
        for paragraph in paragraphs(docstring):
            yield from (sentence.strip() for sentence in _SENTENCE_END.split(paragraph))


def docstrings(package: str) -> Iterator[str]:
    """All of a package; none where it is not installed."""
    for path in _files(package):
        try:
            tree = ast.parse(path.read_text(encoding="utf8"))
        except (OSError, ValueError, SyntaxError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                docstring = ast.get_docstring(node)
                if docstring:
                    yield docstring


def paragraphs(docstring: str) -> list[str]:
    """Each in one line."""
    return [" ".join(part.split()) for part in _PARAGRAPH_END.split(docstring)]


def is_prose(text: str) -> bool:
    """Whether a text reads like a sentence, and not like code or a table."""
    if not 12 <= len(text) <= 160 or not text[0].isalpha() or _UNLIKE_PROSE.search(text):
        return False
    words, frequent = _WORD.findall(text.lower()), _frequent()
    return 3 <= len(words) <= 26 and sum(word in frequent for word in words) >= 0.9 * len(words)


_known: set[str] = set()


def _frequent() -> set[str]:
    if not _known:
        _known.update(top_n_list("en", _FREQUENT))
    return _known


def _files(package: str) -> list[Path]:
    if not package:
        folder = Path(sysconfig.get_paths()["stdlib"])
        return sorted(path for path in folder.rglob("*.py") if not {"site-packages", "test"} & {*path.parts})
    found = util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        return []
    # Of large packages the files that are installed with them, tests apart.
    folder = Path(found.submodule_search_locations[0])
    return sorted(path for path in folder.rglob("*.py") if "test" not in str(path.relative_to(folder)))


def _plays() -> list[str]:
    speeches = " ".join(text.replace("\n", " ") for text in load_keyboard().public)
    sentences = re.split(r"(?<=[.!?;])\s+", speeches)
    return sorted({text for text in sentences if 3 <= len(text.split()) <= 20})


def homes(count: int, *, seed: int) -> list[str]:
    """What nobody labelled of the assistant's task, in English."""
    amounts = Amounts(labelled=1, calibration=1, test=1, public=max(count, 1))
    data = load_assistant(devices=1, seed=seed, speaking=("en",), amounts=amounts)
    return list(data.public)[:count]


def _random_words(count: int, random: np.random.Generator) -> list[str]:
    words = [word for word in top_n_list("en", _WORDS) if word.isalpha()]
    # Rare words come more often than in a text, by the root of how frequent they are.
    chances = np.sqrt([word_frequency(word, "en") for word in words])
    drawn = random.choice(len(words), size=(count, 8), p=chances / chances.sum())
    lengths = random.integers(2, 9, count)
    return [" ".join(words[at] for at in row[:length]) for row, length in zip(drawn, lengths, strict=True)]


def _sign_names() -> list[str]:
    """Those of pictures: the blocks of symbols and pictographs."""
    found = [unicodedata.name(chr(code), "") for code in (*range(0x2600, 0x27C0), *range(0x1F300, 0x1FB00))]
    return sorted({name.lower() for name in found if name and len(name.split()) > 1})


def _some(texts: list[str], count: int, random: np.random.Generator) -> list[str]:
    return [texts[at] for at in random.permutation(len(texts))[:count]]
