"""The n-gram student beside TF-IDF with logistic regression: right answers, and knowing what is out of scope.

    python benchmarks/utterances.py [FOLDER]

Prints accuracy, the area under the ROC curve (AUROC) of confidence that tells known intents from others, and
the expected calibration error (ECE) of what is known, its temperature fitted to half of that. Students learn
what asks for nothing, too, as `fedstill-server prepare` makes it of what is labelled; it is never an answer.
Without a folder, utterances are drawn from Home Assistant's templates: what an intent does with one kind of
thing is a class, and each class has --shots labelled utterances. Test utterances come from templates of which
nothing was learned, and classes that nobody learned are out of scope. A folder has a public.csv (text,label)
to learn from, and <user>.csv to measure on; labels that public.csv does not have are out of scope.
The regression has the best C by cross-validation of the labelled utterances.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from fedstill_proto.arrays import FloatArray, IntArray
from fedstill_proto.text.utterances import read_utterances
from fedstill_server.calibration import calibration, fitted_temperature
from fedstill_server.tasks.utterances.students import trained_on_labels
from fedstill_server.tasks.utterances.tables import unasked_for
from fedstill_sim.tasks.utterances.data import PUBLIC_FILE
from fedstill_sim.tasks.utterances.homes import everyones_home
from fedstill_sim.tasks.utterances.sentences import Templates
from scipy.special import softmax
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_score

STRENGTHS = (1.0, 10.0, 100.0)  # C of the regression
FOLDS = 3
TEST = 30  # utterances a class
DRAWS = 20  # for each utterance that is wanted
FEWEST = 4  # templates of a class that is known

Labelled = list[tuple[str, str]]


@dataclass(frozen=True)
class Utterances:
    """What is learned, what is asked, and what is asked and out of scope."""

    learned: Labelled
    asked: Labelled
    foreign: tuple[str, ...]

    def labels(self, said: Labelled) -> IntArray:
        names = sorted({label for _, label in self.learned})
        return np.array([names.index(label) for _, label in said], np.int64)


@dataclass(frozen=True)
class Score:
    """Shares from 0 to 1."""

    accuracy: float
    auroc: float
    ece: float
    parameters: int


def drawn(*, language: str, shots: int, seed: int) -> Utterances:
    """Utterances of Home Assistant's templates; half of a known class's templates are for the test."""
    templates, random = Templates.load(language), np.random.default_rng(seed)
    classes = templates.by_kind()
    many = [name for name, each in classes.items() if len(each) >= FEWEST]
    known = {str(name) for name in random.permutation(many)[: len(many) * 3 // 4]}
    learned: Labelled = []
    asked: Labelled = []
    foreign: list[str] = []
    for name, each in classes.items():
        order = random.permutation(len(each))

        some, others = ([each[at] for at in part] for part in np.array_split(order, 2))
        if name in known:
            learned += [(text, name) for text in said(templates, some, shots, random)]
            asked += [(text, name) for text in said(templates, others, TEST, random)]
        else:
            foreign += said(templates, each, TEST, random)
    heard = {text for text, _ in learned}
    return Utterances(learned, [each for each in asked if each[0] not in heard], tuple(foreign))


def said(
    templates: Templates, sentences: Sequence[tuple[Any, Any]], count: int, random: np.random.Generator
) -> list[str]:
    """So many different texts of some templates, or fewer where there are no more."""
    home = everyones_home(templates.language)
    drawn = (sentences[int(random.integers(len(sentences)))] for _ in range(count * DRAWS))
    return list(dict.fromkeys(templates.fill(*each, home, random) for each in drawn))[:count]


def read(folder: Path) -> Utterances:
    """The utterances of a folder."""
    learned = [each for each in read_utterances(folder / PUBLIC_FILE, labels_needed=False) if each[1]]
    names = {label for _, label in learned}
    files = [file for file in sorted(folder.glob("*.csv")) if file.name != PUBLIC_FILE]
    rows = [each for file in files for each in read_utterances(file)]
    return Utterances(
        learned,
        [each for each in rows if each[1] in names],
        tuple(text for text, label in rows if label not in names),
    )


def scored(data: Utterances, asked: FloatArray, foreign: FloatArray, parameters: int) -> Score:
    """The score of logits [n, classes] of what is asked and out of scope; a class more is no intent."""
    labels = data.labels(data.asked)
    classes = len({label for _, label in data.learned})
    sure = softmax(np.concatenate([asked, foreign]).astype(np.float64), axis=1)[:, :classes].max(axis=1)
    right = asked[:, :classes].argmax(axis=1) == labels
    temperature = fitted_temperature(asked[::2], labels[::2])
    ece = calibration(asked[1::2], labels[1::2], temperature=temperature).ece
    auroc = roc_auc_score(np.arange(len(sure)) < len(asked), sure) if len(foreign) else float("nan")
    return Score(float(right.mean()), float(auroc), ece, parameters)


def by_student(data: Utterances, family: str) -> Score:
    more = unasked_for(data.learned, seed=0)
    rows = [*data.learned, *more.polite]
    labels = data.labels(rows)
    nothing = int(labels.max()) + 1
    student = trained_on_labels(
        family,
        [*(text for text, _ in rows), *more.learned],
        np.concatenate([labels, np.full(len(more.learned), nothing)]),
        classes=nothing + 1,
    )
    asked, foreign = student.logits([text for text, _ in data.asked]), student.logits(data.foreign)
    return scored(data, asked, foreign, student.parameter_count)


def by_regression(data: Utterances) -> Score:
    """The best of several C by cross-validation."""
    features = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True)
    x, labels = features.fit_transform([text for text, _ in data.learned]), data.labels(data.learned)
    asked = features.transform([text for text, _ in data.asked])
    foreign = features.transform(data.foreign) if data.foreign else asked[:0]
    models = [LogisticRegression(C=strength, max_iter=300) for strength in STRENGTHS]
    model = max(models, key=lambda each: cross_val_score(each, x, labels, cv=FOLDS).mean()).fit(x, labels)
    known, others = (model.decision_function(part) for part in (asked, foreign))
    return scored(data, known, others, model.coef_.size + model.intercept_.size)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--language", default="en")
    parser.add_argument("--shots", type=int, default=20, help="labelled utterances of a class")
    parser.add_argument("--seeds", default="1000,1001,1002", help="of what is drawn")
    options = parser.parse_args(arguments)
    if options.folder is not None:
        print_scores(read(options.folder), options.folder.name)
        return
    for seed in map(int, options.seeds.split(",")):
        data = drawn(language=options.language, shots=options.shots, seed=seed)
        print_scores(data, f"{options.language}, seed {seed}")


def print_scores(data: Utterances, name: str) -> None:
    classes = len({label for _, label in data.learned})
    print(
        f"{name}: {classes} intents, {len(data.learned)} labelled utterances; {len(data.asked)} to measure "
        f"on, {len(data.foreign)} out of scope"
    )
    rows = {
        "TF-IDF + regression": by_regression(data),
        "ngrams": by_student(data, "ngrams"),
        "ngrams-small": by_student(data, "ngrams-small"),
    }
    for model, score in rows.items():
        numbers = f"accuracy {score.accuracy:6.1%}   AUROC {score.auroc:6.1%}   ECE {score.ece:5.1%}"
        print(f"  {model:20} {numbers}   {score.parameters:9,} parameters", flush=True)


if __name__ == "__main__":
    main()
