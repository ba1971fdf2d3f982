"""What 8 bits cost a keyboard: the share of next words among three suggestions, as trained and as packed.

    python benchmarks/keyboard_int8.py                    # of the plays; trained where it is not yet
    python benchmarks/keyboard_int8.py --devices 100 --family gru-24-96

Both students go through the held-out texts of each device word by word, as an agent does, without the owner's
own words: the one in float32 as it was trained, the other as a device installs it, with 8-bit weights and
products.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from typing import Any

import numpy as np
from fedstill_client.model.streaming import WordStream
from fedstill_proto.arrays import Parameters
from fedstill_proto.package.artifact import StudentPackage
from fedstill_proto.text.vocabulary import START, WordList
from fedstill_server.export.int8 import quantize_student
from fedstill_server.export.student import export_student
from fedstill_server.publish.text import as_text_package
from fedstill_sim.tasks.text.data import Typist, load_keyboard
from fedstill_sim.tasks.text.start import start_keyboard

FAMILY, DEVICES, PLACES, SUGGESTIONS = "gru-80-224", 40, 16, 3
BAR_POINTS = 0.5


def packed(family: str, words: WordList, parameters: Parameters) -> StudentPackage:
    """Build the whole package that a device answers with."""
    manifest, graph = export_student(
        family=family, input_shape=(PLACES,), classes=len(words), parameters=parameters
    )
    eight_bit = quantize_student(graph, parameters)
    assert eight_bit is not None
    manifest = replace(manifest, quantized=eight_bit.quantized)
    return as_text_package(StudentPackage(manifest, graph, parameters, int8_graph=eight_bit.graph))


def shares(stream: WordStream, typist: Typist, words: WordList) -> tuple[float, float]:
    """Compute how many held-out words are the likeliest, and are among the three likeliest."""
    first = among = count = 0
    for text in typist.test:
        state, last = stream.start(), START
        for word in words.encode(text):
            logits, state = stream.step(last, state)
            likeliest = np.argpartition(-logits, SUGGESTIONS)[:SUGGESTIONS]
            first += int(logits.argmax() == word)
            among += int(word in likeliest)
            count += 1
            last = word
    return first / max(count, 1), among / max(count, 1)


def measured(family: str, devices: int) -> dict[str, Any]:
    data = load_keyboard()
    keyboard = start_keyboard(data, (family,), on_progress=lambda what, done, total: None)
    words, parameters = keyboard.words, keyboard.students[family]
    package = packed(family, words, parameters)
    typists = data.of(min(devices, len(data.typists))).typists
    streams = {
        "float32": WordStream(package, parameters),
        "int8": WordStream(package, package.parameters, precision="int8"),
    }
    found = {
        name: np.array([shares(stream, typist, words) for typist in typists])
        for name, stream in streams.items()
    }
    loss = found["float32"] - found["int8"]
    return {
        "family": family,
        "devices": len(typists),
        "parameters": package.manifest.parameter_count,
        **{name: dict(zip(("top1", "top3"), each.mean(axis=0), strict=True)) for name, each in found.items()},
        "lost_top3_points": 100 * float(loss[:, 1].mean()),
        "lost_top3_points_worst_device": 100 * float(loss[:, 1].max()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--family", default=FAMILY)
    parser.add_argument("--devices", type=int, default=DEVICES)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    found = measured(asked.family, asked.devices)
    if asked.json:
        print(json.dumps(found, indent=2))
        return
    print(f"{found['family']}: {found['parameters']:,d} parameters, {found['devices']} devices")
    for name in ("float32", "int8"):
        print(f"{name:8} top 1 {found[name]['top1']:.4f}   top 3 {found[name]['top3']:.4f}")
    lost, worst = found["lost_top3_points"], found["lost_top3_points_worst_device"]
    verdict = "within" if lost <= BAR_POINTS else "MISSES"
    print(
        f"8 bits lose {lost:+.2f} points of top 3, {verdict} the bar of {BAR_POINTS:g}; at most {worst:+.2f}"
    )


if __name__ == "__main__":
    main()
