"""The words of a student of text."""

from __future__ import annotations

from fedstill_proto.package.artifact import StudentPackage
from fedstill_proto.text.lexicon import Lexicon
from fedstill_proto.text.vocabulary import WordList


def package_word_list(package: StudentPackage) -> WordList | None:
    """The words of a package's student, in the order of their numbers.

    Returns:
        The list; None for a package of another kind of student, or one that brings no words.

    Raises:
        WireError: The package's vocabulary.json is not one for its student.
    """
    if package.vocabulary is None or package.manifest.input_type != "int64":
        return None
    return WordList.from_json(package.vocabulary, size=package.manifest.classes)


def package_lexicon(package: StudentPackage, words: WordList) -> Lexicon | None:
    """What a package knows of words besides its student; None for a package of before there were lexicons.

    Raises:
        WireError: The package's lexicon.safetensors is not one for its words.
    """
    return None if package.lexicon is None else Lexicon.from_bytes(package.lexicon, words)
