"""The service as a process of its own, with a real private store."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from fedstill_client import AgentClient
from fedstill_client.agent.agent import Agent
from fedstill_client.agent_types import AgentUnavailable, PersonalizeOptions
from fedstill_client.home import AgentHome
from fedstill_client.service.endpoint import is_listening

from tests.client.agent_samples import enrolled_home
from tests.client.recording_agent import short_home
from tests.client.samples import examples

# Does what the service does, and says what the process has loaded in the end.
PROGRAM = """
import json, sys
from pathlib import Path
from fedstill_client.service.server import serve
serve(Path(sys.argv[1]))
heavy = {"torch", "flwr", "onnx", "sklearn", "ray", "sqlalchemy", "fastapi", "tuf"}
print(json.dumps(sorted({name.split(".")[0] for name in sys.modules} & heavy)))
"""


@pytest.fixture
def home() -> Iterator[AgentHome]:
    with short_home() as made:
        yield enrolled_home(made.folder)


@contextmanager
def service(home: AgentHome, *command: str) -> Iterator[subprocess.Popen[str]]:
    """A running service, ended by SIGKILL if it is still there."""
    process = subprocess.Popen(
        [sys.executable, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    try:
        while not is_listening(home.socket):
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline, "no service after 60 s"
            time.sleep(0.05)
        yield process
    finally:
        process.kill()
        process.communicate()


def test_it_answers_learns_and_ends_without_flwr_or_torch(home: AgentHome) -> None:
    x, labels = examples(120)
    with service(home, "-c", PROGRAM, str(home.folder)) as process:
        with AgentClient(home.folder) as agent:
            assert len(agent.observe(x, labels)) == 120
            result = agent.personalize(PersonalizeOptions(epochs=5))
            answered = agent.predict(x)

        process.send_signal(signal.SIGTERM)
        printed, errors = process.communicate(timeout=30)

    assert result.result == "replaced"
    assert (process.returncode, errors) == (0, "")
    assert json.loads(printed) == []
    assert not home.socket.exists()
    with Agent.open(home.folder) as reopened:
        np.testing.assert_allclose(reopened.predict(x), answered, atol=1e-6)


def test_the_command_serves_once_and_survives_a_kill(home: AgentHome) -> None:
    command = ("-m", "fedstill_client.cli", "serve", "--home", str(home.folder))
    with service(home, *command) as process:
        second = subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=60)
        assert second.returncode == 2
        assert "serves this home already" in second.stderr
        with AgentClient(home.socket) as agent:
            agent.observe(*examples(3))
            process.kill()
            process.wait()
            with pytest.raises(AgentUnavailable, match="no agent answers"):
                agent.status()

    with service(home, *command), AgentClient(home.folder) as agent:
        status = agent.status()
        assert status.training_examples + status.held_out_examples == 3


def test_an_app_s_own_process_loads_no_runtime(tmp_path: Path) -> None:
    program = (
        "import sys; from fedstill_client import AgentClient; "
        "loaded = {name.split('.')[0] for name in sys.modules}; "
        "print(sorted({'onnxruntime', 'flwr', 'torch', 'tuf'} & loaded))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr
