"""The 37 inputs from public bug reports (H01 to H37), on fresh homes: what happens now, beside what must.

    python benchmarks/reported_inputs.py FOLDER                # the folder of the inputs' files
    python benchmarks/reported_inputs.py FOLDER --only H14 H23

A keyboard of the plays and an assistant of 1,200 English utterances are prepared, published and enrolled by
fedstill's own commands first; --work keeps them for the next time. Ends with 1 where a case is wrong. Further
inputs of each kind are tests: tests/client, tests/proto, tests/server and tests/sim.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))  # it is started by its file's name

from fedstill_client.agent.agent import Agent
from fedstill_proto.errors import FedstillError

from benchmarks.reported.homes import Homes, Ran, run
from benchmarks.reported.network_cases import NETWORK_CASES

Case = Callable[[Path, Homes], tuple[bool, str]]
_NEGATED = (
    "don't turn on the kitchen light",
    "do not turn off the fan",
    "please don't open the garage door",
    "never lock the front door",
    "don't set the volume to ten",
    "do not start the vacuum cleaner",
    "don't play any music",
    "you should not turn on the heater",
    "please do not close the blinds",
    "I don't want you to switch off the lamp",
)
_FIVE = {
    "HassTurnOn": "turn on the {}",
    "HassTurnOff": "turn off the {}",
    "HassLightSet": "set the {} to 40 percent brightness",
    "HassVacuumStart": "vacuum the {}",
    "HassGetWeather": "what is the weather like at the {}",
}
_THINGS = [f"{kind} {number}" for kind in ("lamp", "radio", "heater", "fan") for number in range(1, 6)]


def _sure(home: Path, texts: Sequence[str]) -> list[str]:
    with Agent.open(home) as agent:
        return [text for text in texts if agent.predict_text(text).sure]


def _chatty(folder: Path) -> list[str]:
    return (folder / "out_of_scope.txt").read_text(encoding="utf-8").split("\n")[:-1]


def few_examples_of_one_intent(folder: Path, homes: Homes) -> tuple[bool, str]:
    home, chatty = homes.assistant(), _chatty(folder)
    before = _sure(home, chatty)
    run("fedstill-agent", "observe", "--home", home, "--input", folder / "five_turn_on.csv")
    after = _sure(home, chatty)
    return len(after) <= max(len(before), 1), f"sure of {len(before)} of 12 before, {len(after)} after"


def examples_of_five_intents(folder: Path, homes: Homes) -> tuple[bool, str]:
    home, chatty = homes.assistant(), [*_chatty(folder), *_NEGATED]
    before = _sure(home, chatty)
    with Agent.open(home) as agent:
        said = [(form.format(thing), name) for name, form in _FIVE.items() for thing in _THINGS]
        agent.observe_intents(said)
    after = _sure(home, chatty)
    run("fedstill-agent", "personalize", "--home", home)
    personalized = _sure(home, chatty)
    told = (
        f"of {len(chatty)} sure of {len(before)} before, {len(after)} after, {len(personalized)} personalized"
    )
    return max(len(after), len(personalized)) <= len(before) + 1, told


def negated_wishes(folder: Path, homes: Homes) -> tuple[bool, str]:
    sure = _sure(homes.assistant(), _NEGATED)
    return not sure, f"sure of {len(sure)} of 10: {', '.join(sure)}"


def numbers_in_words(folder: Path, homes: Homes) -> tuple[bool, str]:
    with Agent.open(homes.assistant()) as agent:
        said = [
            agent.predict_text(f"set the kitchen light to {amount}") for amount in ("50%", "fifty percent")
        ]
    names = [each.intents[0].name for each in said]
    return names[0] == names[1], " and ".join(names)


def _all_refused(homes: Homes, *commands: Sequence[object], words: str) -> tuple[bool, str]:
    ran = [run(str(name), *rest) for name, *rest in commands]
    wrong = [each for each in ran if not each.refused or words not in " ".join(each.words.split())]
    shown = (wrong or ran)[0].words.strip().split("\n")[-1]
    return not wrong, f"{len(ran) - len(wrong)} of {len(ran)} refused: {shown[:160]}"


def _simulated(data: Path, out: Path, *, family: str = "mlp-small") -> Ran:
    how = ("--families", family, "--rounds", 1, "--baselines", "none", "--out", out)
    return run("fedstill-sim", "run", "--data", data, *how)


def bare_arrays(folder: Path, homes: Homes) -> tuple[bool, str]:
    fleet = homes.folder / "bare-fleet"
    data = homes.folder / "bare-data"
    data.mkdir(exist_ok=True)
    for name in ("public.npz", "global_test.npz", "client_0.npz"):
        (data / name).write_bytes((folder / "channels_last" / name).read_bytes())
    (data / "client_1.npz").write_bytes((folder / "bare_named.npz").read_bytes())
    home = ("--home", homes.assistant())
    run("fedstill-server", "init", fleet, "--host", "127.0.0.1", "--without-proxy")
    return _all_refused(
        homes,
        ("fedstill-agent", "predict", *home, "--input", folder / "bare.npy"),
        ("fedstill-agent", "predict", *home, "--input", folder / "bare_named.npz"),
        ("fedstill-server", "prepare", fleet, "--public", folder / "bare.npy", "--rounds", 1),
        ("fedstill-sim", "run", "--data", data, "--rounds", 1, "--out", homes.folder / "bare-out"),
        words="named arrays",
    )


def damaged_array(folder: Path, homes: Homes) -> tuple[bool, str]:
    command = ("fedstill-agent", "predict", "--home", homes.assistant(), "--input", folder / "damaged.npz")
    return _all_refused(homes, command, words="damaged")


def one_comma_too_many(folder: Path, homes: Homes) -> tuple[bool, str]:
    fleet = homes.folder / "comma-fleet"
    run("fedstill-server", "init", fleet, "--host", "127.0.0.1", "--without-proxy")
    command = (
        "fedstill-server",
        "prepare",
        fleet,
        "--public",
        folder / "comma.csv",
        "--families",
        "ngrams-small",
    )
    return _all_refused(homes, (*command, "--rounds", 1), words="line 14")


def intent_that_is_none(folder: Path, homes: Homes) -> tuple[bool, str]:
    command = ("fedstill-agent", "observe", "--home", homes.assistant(), "--input", folder / "bad_intent.csv")
    return _all_refused(homes, command, words="line 3")


def labels_of_a_million(folder: Path, homes: Homes) -> tuple[bool, str]:
    fleet, data = homes.folder / "million-fleet", folder / "labels_1000000"
    run("fedstill-server", "init", fleet, "--host", "127.0.0.1", "--without-proxy")
    started = time.perf_counter()
    out = homes.folder / "million-out"
    simulated = _simulated(data, out)
    prepared = run(
        "fedstill-server", "prepare", fleet, "--public", data / "public.npz", "--rounds", 1, within_s=60
    )
    seconds = time.perf_counter() - started
    both = f"{simulated.words} {prepared.words}"
    ended = simulated.code != -9 and prepared.code != -9 and "Traceback" not in both
    told = "1000000" in simulated.words or (out / "result.json").exists()
    return ended and told, f"ended with {simulated.code} and {prepared.code} in {seconds:.0f} s"


def labels_with_gaps(folder: Path, homes: Homes) -> tuple[bool, str]:
    out = homes.folder / "gaps-out"
    ran = _simulated(folder / "labels_10_20_30_40", out)
    if ran.code:
        return ran.refused, ran.words.strip().split("\n")[-1][:160]
    config = json.dumps(json.loads((out / "result.json").read_text()))
    return '"classes": 41' not in config, "4 classes, labels 10, 20, 30, 40 are named"


def channels_last(folder: Path, homes: Homes) -> tuple[bool, str]:
    ran = _simulated(folder / "channels_last", homes.folder / "channels-out", family="cnn")
    words = " ".join(ran.words.split())
    good = ran.code == 0 or (ran.refused and "channels" in words)
    return good and "Traceback" not in words, ("read" if ran.code == 0 else words[-160:])


def skew_that_is_no_number(folder: Path, homes: Homes) -> tuple[bool, str]:
    commands = [
        ("fedstill-sim", "run", "digits", "--dirichlet", value, "--rounds", 1, "--out", homes.folder / "skew")
        for value in ("nan", "inf", "-1", "0")
    ]
    return _all_refused(homes, *commands, words="dirichlet")


def folder_that_cannot_be(folder: Path, homes: Homes) -> tuple[bool, str]:
    return _all_refused(homes, ("fedstill-sim", "run", "digits", "--out", "/proc/nope"), words="/proc/nope")


def byte_order_mark(folder: Path, homes: Homes) -> tuple[bool, str]:
    home = homes.keyboard()
    for _ in range(2):
        run("fedstill-agent", "observe-text", "--home", home, "--input", folder / "bom.txt")
    words = _suggested(home, "", "zeb")
    return words[:1] == ["Zebrafish"] or words[:1] == ["zebrafish"], " ".join(words)


def table_with_a_byte_order_mark(folder: Path, homes: Homes) -> tuple[bool, str]:
    import numpy as np

    data, out = homes.folder / "twelve-data", homes.folder / "twelve-out"
    data.mkdir()
    rng = np.random.default_rng(0)
    for name in ("public", "global_test", "client_0", "client_1"):
        x = rng.normal(size=(40, 12)).astype(np.float32)
        np.savez(data / f"{name}.npz", x=x, y=np.arange(40) % 2)
    made = _simulated(data, out)
    if made.code:
        return False, made.words[-160:]
    student = next(folder.parent for folder in out.rglob("inference.onnx"))
    ran = run("fedstill-agent", "predict", "--student", student, "--input", folder / "table_bom.csv")
    return ran.code == 0, ran.words.strip()[:120]


def _suggested(home: Path, context: str, prefix: str = "", k: int = 3) -> list[str]:
    with Agent.open(home) as agent:
        return [each.word for each in agent.suggest(context, prefix, k)]


def _typed(folder: Path, homes: Homes, name: str, times: int = 1) -> Path:
    home = homes.keyboard()
    with Agent.open(home) as agent:
        for text in (folder / name).read_text(encoding="utf-8-sig").splitlines() * times:
            agent.observe_text(text)
    return home


def _shows(home: Path, wanted: dict[tuple[str, str], str], k: int = 3) -> tuple[bool, str]:
    shown = {asked: _suggested(home, *asked, k) for asked in wanted}
    wrong = {asked: words for asked, words in shown.items() if wanted[asked] not in words}
    told = "; ".join(
        f"{context} {prefix}...: {' '.join(words)}" for (context, prefix), words in shown.items()
    )
    return not wrong, ("WRONG " + repr(wrong) if wrong else told)[:220]


def emoji_glued_to_a_word(folder: Path, homes: Homes) -> tuple[bool, str]:
    home = _typed(folder, homes, "emoji.txt")
    found = _shows(home, {("see you", ""): "lol", ("see you", "lol"): "lol", ("see you lol", ""): "😂"})
    glued = "lol😂" in _suggested(home, "see you", "lo", 10)
    return found[0] and not glued, found[1]


def quotation_marks(folder: Path, homes: Homes) -> tuple[bool, str]:
    return _shows(
        _typed(folder, homes, "quotes.txt"), {("she said", ""): "brilliant", ("she said", "bri"): "brilliant"}
    )


def marks_of_other_scripts(folder: Path, homes: Homes) -> tuple[bool, str]:
    home = _typed(folder, homes, "marks.txt")
    return _shows(home, {("मैं ठीक", ""): "हूँ", ("كيف", ""): "حالك"})


def true_case(folder: Path, homes: Homes) -> tuple[bool, str]:
    home = _typed(folder, homes, "names.txt")
    wanted = {
        ("we had lunch with", ""): "Priyanka",
        ("in the city of", "rey"): "Reykjavik",
        ("near", "nas"): "NASA",
    }
    found = _shows(home, wanted)
    bare = [word for word in _suggested(home, "well then", "", 20) if word in ("i", "i'm", "i'll")]
    return found[0] and not bare, found[1] + "".join(bare)


def accents(folder: Path, homes: Homes) -> tuple[bool, str]:
    wanted = {
        "uber": "über", "munch": "München", "manana": "mañana", "deja": "déjà", "koln": "Köln",
        "schone": "schöne", "grusse": "Grüße",
    }  # fmt: skip
    home = _typed(folder, homes, "accents.txt")
    return _shows(home, {("wir", typed): meant for typed, meant in wanted.items()})


def another_alphabet(folder: Path, homes: Homes) -> tuple[bool, str]:
    wanted = {"превет": "привет", "прмвет": "привет", "сегдня": "сегодня"}
    home = _typed(folder, homes, "cyrillic.txt")
    return _shows(home, {("как", typed): meant for typed, meant in wanted.items()})


def apostrophe_left_out(folder: Path, homes: Homes) -> tuple[bool, str]:
    home = homes.keyboard()
    with Agent.open(home) as agent:
        for _ in range(3):
            agent.observe_text("I think I'm late and I'll call")
    return _shows(home, {("I think", "im"): "I'm"})


def secrets(folder: Path, homes: Homes) -> tuple[bool, str]:
    home = _typed(folder, homes, "secrets.txt", times=2)
    asked = [
        ("my pin is", ""),
        ("my pin is", "4"),
        ("my pin is", "48"),
        ("password", ""),
        ("password", "hun"),
    ]
    words = [word for context, prefix in asked for word in _suggested(home, context, prefix, 20)]
    told = [word for word in words if "4821" in word or "hunter2" in word.lower()]
    kept = (
        b"hunter2" in (home / "private.sqlite").read_bytes() if (home / "private.sqlite").exists() else False
    )
    return not told and not kept, f"{len(words)} suggested, secrets among them: {told}"


def misspelled_often(folder: Path, homes: Homes) -> tuple[bool, str]:
    words = _suggested(_typed(folder, homes, "typos.txt"), "I will", "receive")
    return words[:1] == ["receive"], " ".join(words)


def any_sign_as_a_prefix(folder: Path, homes: Homes) -> tuple[bool, str]:
    home, asked = homes.keyboard(), ("anna@", "www.ex", "10:3", "3.5", "#tb", '"(he', "“he", ",", "😂")
    with Agent.open(home) as agent:
        try:
            shown = {prefix: [each.word for each in agent.suggest("mail", prefix)] for prefix in asked}
        except FedstillError as error:
            return False, str(error)
    return True, "; ".join(f"{prefix}: {' '.join(words)}" for prefix, words in shown.items())


def long_word(folder: Path, homes: Homes) -> tuple[bool, str]:
    home = _typed(folder, homes, "long_word.txt")
    found = _suggested(home, "", "Donaudampf")
    letters = "Donaudampfschifffahrtsgesellschaftskapitän"[:41]
    try:
        longer = _suggested(home, "", letters)
    except FedstillError as error:
        return False, str(error)
    right = not found or found[0] == "Donaudampfschifffahrtsgesellschaftskapitän"
    return right, f"{found[:1]}; with 41 letters {longer[:1]}"


def zero_width_signs(folder: Path, homes: Homes) -> tuple[bool, str]:
    home = _typed(folder, homes, "zero_width.txt")
    words = _suggested(home, "the", "zeb")
    return words[:1] == ["zebrafish"] and len(words) == len(set(words)), " ".join(words)


def variation_selectors(folder: Path, homes: Homes) -> tuple[bool, str]:
    words = _suggested(_typed(folder, homes, "heart.txt"), "love")
    return any(word.startswith("❤") for word in words), " ".join(words)


def utterances_named_otherwise(folder: Path, homes: Homes) -> tuple[bool, str]:
    command = ("fedstill-agent", "observe", "--home", homes.assistant(), "--input", folder / "utterances.txt")
    found = _all_refused(homes, command, words=".csv")
    return found[0] and "allow_pickle" not in found[1], found[1]


def bytes_as_pixels(folder: Path, homes: Homes) -> tuple[bool, str]:
    import numpy as np

    fleet, file = homes.folder / "bytes-fleet", homes.folder / "bytes.npz"
    rng = np.random.default_rng(0)
    np.savez(file, x=rng.integers(0, 256, (60, 8, 8), np.uint8), y=rng.integers(0, 4, 60))
    data = homes.folder / "bytes-data"
    data.mkdir(exist_ok=True)
    for name in ("public", "global_test", "client_0", "client_1"):
        x, y = rng.integers(0, 256, (60, 8, 8), np.uint8), rng.integers(0, 4, 60)
        np.savez(data / f"{name}.npz", x=x, y=y)
    run("fedstill-server", "init", fleet, "--host", "127.0.0.1", "--without-proxy")
    prepared = run(
        "fedstill-server", "prepare", fleet, "--public", file, "--families", "mlp-small", "--rounds", 1
    )
    simulated = _simulated(data, homes.folder / "bytes-out")
    return (
        prepared.code == simulated.code,
        f"prepare ends with {prepared.code}, the simulator with {simulated.code}",
    )


CASES: dict[str, Case] = {
    "H01": few_examples_of_one_intent,
    "H02": examples_of_five_intents,
    "H03": negated_wishes,
    "H04": numbers_in_words,
    "H05": bare_arrays,
    "H06": damaged_array,
    "H07": one_comma_too_many,
    "H08": intent_that_is_none,
    "H09": labels_of_a_million,
    "H10": labels_with_gaps,
    "H11": channels_last,
    "H12": skew_that_is_no_number,
    "H13": folder_that_cannot_be,
    "H14": byte_order_mark,
    "H15": table_with_a_byte_order_mark,
    "H16": emoji_glued_to_a_word,
    "H17": quotation_marks,
    "H18": marks_of_other_scripts,
    "H19": true_case,
    "H20": accents,
    "H21": another_alphabet,
    "H22": apostrophe_left_out,
    "H23": secrets,
    "H24": misspelled_often,
    "H25": any_sign_as_a_prefix,
    "H26": long_word,
    "H27": zero_width_signs,
    "H28": variation_selectors,
    **NETWORK_CASES,
    "H36": utterances_named_otherwise,
    "H37": bytes_as_pixels,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path, help="of the files that the cases name")
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES), metavar="H00")
    parser.add_argument("--work", type=Path, help="where the homes are made, and kept")
    asked = parser.parse_args()
    wrong = []
    with tempfile.TemporaryDirectory() as scratch:
        homes = Homes(Path(scratch), kept=asked.work or Path(scratch) / "homes")
        for number in asked.only:
            case = CASES[number]
            try:
                right, told = case(asked.folder.resolve(), homes)
            except FedstillError as error:
                right, told = False, f"refused: {error}"
            print(
                f"{'right' if right else 'WRONG'} {number} {case.__name__.replace('_', ' ')}: {told}",
                flush=True,
            )
            wrong += [] if right else [number]
    print(f"{len(asked.only) - len(wrong)} of {len(asked.only)} right; wrong: {' '.join(wrong) or 'none'}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
