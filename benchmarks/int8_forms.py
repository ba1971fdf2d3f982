"""The 8-bit forms of students on this processor and, emulated, on another: how far their logits are off.

Each family that classifies learns the digits of scikit-learn. Its forms (distill/quantization.py of the
server) are made with each kind of weights, and answer for the judged part:

  error   mean difference of the logits from the float32 ones, in percent of their mean size
  there   the same on the other processor
  one     microseconds that one example takes on one thread of this processor
  256     microseconds that 256 examples take at once

A processor with AVX2 and without VNNI multiplies unsigned by signed bytes in pairs whose sum is cut off at 16
bits. QEMU's user mode emulates one (Debian: qemu-user, from 7.2 on):

    python benchmarks/int8_forms.py
    python benchmarks/int8_forms.py --under "qemu-x86_64 -cpu Haswell"

The verdict, of the forms that are made (weights of uint8, and the packages' own): they are at most 5 percent
off, and on the other processor what they are here, to a twentieth. int7 and int8 are there to compare.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from fedstill_proto.arrays import Parameters
from fedstill_server.data.digits import CLASSES, digits_examples
from fedstill_server.distill.quantization import WeightCodes, dynamic_int8, static_int8
from fedstill_server.export.int8 import quantize_student
from fedstill_server.export.opened import open_graph
from fedstill_server.export.student import export_student
from fedstill_server.families import FAMILIES, build_student
from fedstill_server.training.fitting import FitPlan, fit
from fedstill_server.training.networks import parameters_of

KINDS: tuple[WeightCodes, ...] = ("uint8", "int7", "int8")
OURS = ("static uint8", "dynamic uint8", "weights")
MOST_PERCENT, NEAR = 5.0, 0.05
_TRAINED, _CALIBRATED, _BATCH, _TIMED = 1200, 256, 256, 200

# Imports nothing but what answers: all else would take minutes in an emulator.
_ANSWERING = """
import sys
from pathlib import Path
import numpy as np, onnxruntime
folder = Path(sys.argv[1])
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
options.log_severity_level = 3
given = {"x": np.load(folder / "x.npy")}
for graph in sorted(folder.glob("*.onnx")):
    opened = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    np.save(graph.with_suffix(".npy"), opened.run(None, given)[0])
"""


def answers_under(command: Sequence[str], forms: Mapping[str, bytes], x: np.ndarray) -> dict[str, np.ndarray]:
    """Compute each graph's first output for x in another Python, which may be emulated.

    Args:
        command: in front of the interpreter, such as ["qemu-x86_64", "-cpu", "Haswell"].
        forms: graphs with one input x, by name.
        x: [n, *input_shape].

    Returns:
        Logits [n, K] by the names of the forms.

    Raises:
        subprocess.CalledProcessError: the command does not run Python, numpy and ONNX Runtime.
    """
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        np.save(folder / "x.npy", x)
        for name, form in forms.items():
            (folder / f"{name}.onnx").write_bytes(form)
        subprocess.run(
            [*command, sys.executable, "-c", _ANSWERING, place], check=True, capture_output=True, timeout=600
        )
        return {name: np.load(folder / f"{name}.npy") for name in forms}


def error_percent(logits: np.ndarray, expected: np.ndarray) -> float:
    return 100 * float(np.abs(logits - expected).mean() / np.abs(expected).mean())


def forms_of(graph: bytes, parameters: Parameters, calibration: np.ndarray) -> dict[str, bytes]:
    """Build every form with every kind of weights, and the packages' own."""
    forms = {"float32": graph}
    for codes in KINDS:
        forms[f"static {codes}"] = static_int8(graph, calibration, codes=codes)
        forms[f"dynamic {codes}"] = dynamic_int8(graph, codes=codes)
    packed = quantize_student(graph, parameters)
    if packed is not None:
        forms["weights"] = packed.graph
    return forms


def microseconds(graph: bytes, x: np.ndarray) -> float:
    opened = open_graph(graph)
    seconds = []
    for _ in range(_TIMED):
        started = time.perf_counter()
        opened.run(None, {"x": x})
        seconds.append(time.perf_counter() - started)
    return 1e6 * float(np.median(seconds))


def trained(family: str, x: np.ndarray, labels: np.ndarray) -> tuple[bytes, Parameters]:
    plan = FitPlan(epochs=6, batch_size=32, learning_rate=3e-3, weight_decay=0.0, hard_weight=1.0)
    network = build_student(family, x.shape[1:], CLASSES)
    parameters = parameters_of(fit(network, x, None, plan=plan, seed=0, labels=labels))
    _, graph = export_student(family=family, input_shape=x.shape[1:], classes=CLASSES, parameters=parameters)
    return graph, parameters


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--families", nargs="+", default=sorted(FAMILIES))
    parser.add_argument("--under", default="", help="a command that runs Python on another processor")
    asked = parser.parse_args()
    x, labels = digits_examples()
    here: dict[str, list[float]] = {}
    there: dict[str, list[float]] = {}
    wrong = []
    print(f"{'family':12} {'form':14} {'error':>7} {'there':>7} {'one':>7} {'256':>7}")
    for family in asked.families:
        graph, parameters = trained(family, x[:_TRAINED], labels[:_TRAINED])
        forms, judged = forms_of(graph, parameters, x[:_CALIBRATED]), x[_TRAINED:]
        expected = open_graph(graph).run(["logits"], {"x": judged})[0]
        elsewhere = answers_under(shlex.split(asked.under), forms, judged) if asked.under else {}
        for name, form in forms.items():
            error = error_percent(open_graph(form).run(["logits"], {"x": judged})[0], expected)
            other = error_percent(elsewhere[name], expected) if elsewhere else error
            here.setdefault(name, []).append(error)
            there.setdefault(name, []).append(other)
            shown = f"{other:7.2f}" if elsewhere else f"{'':7}"
            times = f"{microseconds(form, judged[:1]):7.1f} {microseconds(form, judged[:_BATCH]):7.1f}"
            print(f"{family:12} {name:14} {error:7.2f} {shown} {times}")
            if name in OURS and (max(error, other) > MOST_PERCENT or abs(other - error) > NEAR * error):
                wrong.append(f"{family} {name}")
    for name in here:
        away = f"{np.mean(there[name]):7.2f}" if asked.under else f"{'':7}"
        print(f"{'mean':12} {name:14} {np.mean(here[name]):7.2f} {away}")
    print(f"MISSES: {', '.join(wrong)}" if wrong else "within")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
