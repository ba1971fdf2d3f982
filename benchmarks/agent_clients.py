"""Make the example clients of other languages, and ask a real agent with each: what it answers, and how fast.

    python benchmarks/agent_clients.py

A client whose compiler is not here is left out, and said so. Prints JSON: of each, whether its answers are
the agent's own to Python, how much it kept, and the seconds of a call with the start of its process.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
from agent_memory import service
from device_homes import make_home, sample
from fedstill_client import AgentClient
from fedstill_client.commands.proto import PROTO_FOLDER

EXAMPLES = Path(__file__).resolve().parents[1] / "examples" / "agent-clients"
NEEDS = {
    "cpp": ("cmake", "g++", "protoc", "grpc_cpp_plugin"),
    "kotlin": ("kotlinc", "protoc", "grpc_java_plugin"),
}


def build(language: str, folder: Path) -> Path:
    """Make a client; returns its program."""
    if language == "kotlin":
        subprocess.run(
            [EXAMPLES / "kotlin" / "build.sh", PROTO_FOLDER, folder], check=True, capture_output=True
        )
        return folder / "agent_client"
    make = ["cmake", "-S", EXAMPLES / "cpp", "-B", folder, f"-DPROTO={PROTO_FOLDER}"]
    for command in (make, ["cmake", "--build", folder]):
        subprocess.run(command, check=True, capture_output=True)
    return folder / "agent_client"


def ask(program: Path, socket: Path, *words: object) -> tuple[str, float]:
    """What a client prints, and after how many seconds."""
    started = time.perf_counter()
    done = subprocess.run(
        [program, socket, *map(str, words)], check=True, capture_output=True, text=True, timeout=60
    )
    return done.stdout, time.perf_counter() - started


def main() -> None:
    report: dict[str, object] = {}
    with tempfile.TemporaryDirectory(prefix="fs") as folder:
        home = make_home(Path(folder) / "home", family="mlp-small", inputs=16, examples=20)
        with service(home), AgentClient(home.folder) as agent:
            row = sample(1, 16)[0]
            expected = agent.predict(row)[0]
            for language, needs in NEEDS.items():
                missing = [name for name in needs if shutil.which(name) is None]
                if missing:
                    report[language] = f"left out: {', '.join(missing)} are not installed"
                    continue
                program = build(language, Path(folder) / language)
                before = agent.status()
                if (
                    subprocess.run([program, home.socket, "predict", "0"], capture_output=True).returncode
                    == 3
                ):
                    report[language] = "compiled, and not run: Netty's own library is not among the jars"
                    continue
                answer, seconds = ask(program, home.socket, "predict", *row[0])
                found = np.array(answer.split(), np.float64)
                ask(program, home.socket, "observe", 3, *row[0])
                now = agent.status()
                kept = now.training_examples + now.held_out_examples
                report[language] = {
                    "same_answer": bool(np.allclose(found, expected, atol=1e-4)),
                    "kept": kept - before.training_examples - before.held_out_examples,
                    "predict_s": round(seconds, 2),
                }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
