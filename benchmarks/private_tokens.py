"""Whether what is private is ever learned, and how many ordinary words are lost for it.

    python benchmarks/private_tokens.py                      # 500 planted secrets; the public plays
    python benchmarks/private_tokens.py --texts texts/       # .txt, .txt.gz, .json.gz of authors

500 secrets of 29 kinds (PINs, passwords, cards, IBANs, keys, addresses, ...), drawn from a seed, stand in
sentences of several languages. Each is typed three times. None may be among the words that can be suggested,
whatever the context and the letters typed; the words around must be. On ordinary texts, a word is lost where
it has fewer than four digits, is no address of the web or of mail, and is left out all the same. Bars: no
secret, and .2 % of the words.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fedstill_client.keyboard.user_ngrams import UserNgrams
from fedstill_proto.text.private_text import learnable
from fedstill_proto.text.tokens import WORD, tokenize
from fedstill_proto.text.vocabulary import build_word_list, is_word, split
from fedstill_sim.tasks.text.data import load_keyboard
from planted_secrets import planted_secrets

BAR_LOST, TYPED_TIMES = 0.002, 3


def measure_secrets(count: int, seed: int) -> dict[str, Any]:
    """What of planted secrets could ever be suggested, by kind, and how many words around them could not."""
    planted = planted_secrets(count, seed)
    ngrams = UserNgrams(build_word_list(["a small list of the public words"] * 2, size=60))
    for each in planted:
        for _ in range(TYPED_TIMES):
            ngrams.add(learnable(each.sentence).text)
    possible = set(ngrams.alphabet(1, doubtful=lambda listed, word: False).words)
    around = {word for each in planted for word in split(each.sentence.replace(each.secret, " "))}
    leaked = Counter(
        each.kind
        for each in planted
        if {token for token in split(each.secret) if is_word(token) and len(token) > 1} - around & possible
    )
    lost = {word for word in around if is_word(word) and len(word) > 1} - possible
    return {
        "secrets": len(planted),
        "kinds": len({each.kind for each in planted}),
        "suggested": sum(leaked.values()),
        "suggested_by_kind": dict(leaked),
        "words_around": len(around),
        "words_around_lost": sorted(lost),
    }


def measure_words(texts: list[str]) -> dict[str, Any]:
    """How many ordinary words of texts are left out."""
    words, lost, parts = 0, Counter[str](), 0
    started = time.process_time()
    for text in texts:
        kept = learnable(text)
        parts += len(kept.parts)
        for part in kept.parts:
            lost.update(
                token.text
                for token in tokenize(text[part.begin : part.end])
                if token.kind is WORD and sum(map(str.isdigit, token.text)) < 4
            )
    seconds = time.process_time() - started
    for text in texts:
        words += sum(token.kind is WORD for token in tokenize(text))
    return {
        "texts": len(texts),
        "words": words,
        "lost": sum(lost.values()),
        "share": sum(lost.values()) / max(words, 1),
        "parts": parts,
        "microseconds_a_word": seconds / max(words, 1) * 1e6,
        "most_lost": lost.most_common(8),
    }


def read_texts(path: Path) -> Iterator[tuple[str, list[str]]]:
    """The texts of a file, or of each file of a folder."""
    for file in sorted(path.iterdir()) if path.is_dir() else [path]:
        if file.name.endswith((".txt", ".txt.gz", ".json.gz")):
            content = file.read_bytes()
            text = (gzip.decompress(content) if file.suffix == ".gz" else content).decode("utf-8")
            if ".json" in file.name:
                yield file.name, [line for lines in json.loads(text).values() for line in lines]
            else:
                yield file.name, text.splitlines()


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--secrets", type=int, default=500, help="how many are planted")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--texts", type=Path, help="a file of texts, or a folder of such; the public plays without it"
    )
    parser.add_argument("--out", type=Path, help="a file for the figures, as JSON")
    arguments = parser.parse_args()

    secrets = measure_secrets(arguments.secrets, arguments.seed)
    print(f"{secrets['suggested']} of {secrets['secrets']} planted secrets can be suggested.")
    print(f"{len(secrets['words_around_lost'])} of {secrets['words_around']} words around them cannot.")
    named = (
        [("plays", list(load_keyboard().public))]
        if arguments.texts is None
        else list(read_texts(arguments.texts))
    )
    figures = {name: measure_words(texts) for name, texts in named}
    for name, each in figures.items():
        print(
            f"{name}: {each['lost']} of {each['words']} words lost, {100 * each['share']:.4f} %; "
            f"{each['microseconds_a_word']:.1f} us a word; {', '.join(word for word, _ in each['most_lost'])}"
        )
    if arguments.out is not None:
        arguments.out.write_text(
            json.dumps({"secrets": secrets, "texts": figures}, indent=1, ensure_ascii=False)
        )
    met = not secrets["suggested"] and all(each["share"] < BAR_LOST for each in figures.values())
    print("MET" if met else "MISSED", f"no secret suggested, fewer than {BAR_LOST:.1%} of the words lost")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
