import shlex
from typing import Any

import pytest
from fedstill_client.model.placed import NoComputeDevice
from fedstill_server.config.fleet import ConfigError
from fedstill_sim.request import RequestError, RunRequest, command_line, names


def test_a_command_line_asks_for_the_same_again() -> None:
    request = RunRequest(
        method="scarlet",
        dataset="digits",
        devices=50,
        dirichlet=0.1,
        families=("mlp-small", "cnn"),
        learning_rate=0.02,
        encoding="top-k",
        top_k=3,
        method_options={"weighting": ("confidence",), "era_exponent": 3},
        use_public_labels=False,
        baselines=(),
        seed=4,
        processes=7,
    )

    assert command_line(request) == (
        "fedstill-sim run digits --method scarlet --set weighting=confidence --set era_exponent=3 --families "
        "mlp-small,cnn --seed 4 --lr 0.02 --encoding top-k --top-k 3 --no-public-labels --devices 50 "
        "--dirichlet 0.1 --baselines none --out DIR"
    )


def test_a_folder_with_a_blank_is_quoted() -> None:
    words = shlex.split(command_line(RunRequest(method="local", data="/my data/fleet")))

    assert words[words.index("--data") + 1] == "/my data/fleet"


@pytest.mark.parametrize(
    ("text", "parts"),
    [(None, None), ("none", ()), ("a", ("a",)), ("a, b,", ("a", "b"))],
)
def test_names(text: str | None, parts: tuple[str, ...] | None) -> None:
    assert names(text) == parts


def test_how_data_are_read_is_of_one_s_own_data() -> None:
    with pytest.raises(RequestError, match="--label says how --data is read"):
        RunRequest(method="local", dataset="digits", label="kind")
    assert RunRequest(method="local", data="/fleet", label="kind").reading.label == "kind"


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"epsilon": 1.0}, "--epsilon belongs to --privacy central, local or distributed"),
        ({"privacy": "central"}, "say how private"),
        ({"privacy": "central", "epsilon": 1.0, "noise_multiplier": 1.0}, "one of --epsilon and"),
        ({"privacy": "local", "epsilon": 1.0, "engine": "flower"}, "no run could be repeated"),
        (
            {"privacy": "local", "epsilon": 1.0, "baselines": ("fedmd",)},
            "'fedmd' has no diff",
        ),
    ],
)
def test_a_promise_is_whole_or_refused(asked: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        RunRequest(method="fedstill", dataset="digits", **asked)


def test_a_gpu_is_the_cohort_engine_s_on_this_machine() -> None:
    with pytest.raises(RequestError, match="leave --engine flower out"):
        RunRequest(method="local", dataset="digits", stacks_device="cuda", engine="flower")
    with pytest.raises(RequestError, match="leave --cluster out"):
        RunRequest(method="local", dataset="digits", stacks_device="cuda", cluster="auto")


def test_a_gpu_that_is_not_there_is_told_before_anything_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])

    with pytest.raises(NoComputeDevice, match="Install onnxruntime-gpu"):
        RunRequest(method="local", dataset="digits", stacks_device="cuda")
