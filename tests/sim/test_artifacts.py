"""Training artifacts of a run: the right graph for the method, one stack size for as long as it lasts."""

from pathlib import Path

import pytest
from fedstill_proto.messages import Optimizer, TrainingPlan
from fedstill_proto.package.artifact import load_artifact
from fedstill_proto.soft_labels.codec import Encoding, SoftLabelCodec
from fedstill_server.config.choice import Choice
from fedstill_server.config.fleet import FleetConfig
from fedstill_server.export.build import ArtifactOptions
from fedstill_server.methods.artifact_options import artifact_options
from fedstill_sim.runner import stack_size
from fedstill_sim.runner.artifacts import prepare_artifacts


def fleet(
    method: str, *, soft_weight: float = 0.5, downlink: SoftLabelCodec | None = None, families: int = 1
) -> FleetConfig:
    return FleetConfig(
        run="0123abcd",
        method=Choice(name=method),
        rounds=1,
        seed=0,
        families=("mlp-small", "mlp-wide")[:families],
        classes=10,
        input_shape=(2, 2),
        public_set="data/public.npz",
        training=TrainingPlan(1, 4, 0.1, Optimizer.SGD, 2.0, soft_weight, 0),
        downlink=downlink or SoftLabelCodec(Encoding.UINT8),
    )


@pytest.mark.parametrize(
    ("config", "form", "k", "rows"),
    [
        (fleet("local"), "none", 0, 4),
        (fleet("fedavg"), "none", 0, 4),
        (fleet("class-logits"), "dense", 0, 4),
        (fleet("public-logits"), "dense", 0, 8),
        (fleet("public-logits", soft_weight=0.0), "none", 0, 4),
        (fleet("public-logits", downlink=SoftLabelCodec(Encoding.TOP_K, 3)), "top-k", 3, 8),
        (fleet("class-logits", downlink=SoftLabelCodec(Encoding.TOP_K, 10)), "dense", 0, 4),
    ],
)
def test_a_method_gets_the_graph_it_needs(config: FleetConfig, form: str, k: int, rows: int) -> None:
    options = artifact_options(config, "mlp-small")
    assert (options.soft_labels, options.k, options.step_rows) == (form, k, rows)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDSTILL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(stack_size, "_LEAST_SECONDS", 0.001)
    monkeypatch.setattr(stack_size, "CANDIDATES", (1, 2))


@pytest.mark.usefixtures("cache")
def test_each_family_gets_its_artifact(tmp_path: Path) -> None:
    config = fleet("public-logits", families=2)
    sizes = prepare_artifacts(tmp_path, config, devices=10)
    assert set(sizes) == {"mlp-small", "mlp-wide"}
    for family, size in sizes.items():
        manifest = load_artifact(tmp_path / "artifacts" / f"{family}-c{size}").manifest
        assert (manifest.family, manifest.stack_size, manifest.step_rows) == (family, size, 8)


def test_a_resumed_run_keeps_its_stack_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(options: ArtifactOptions) -> dict[int, float]:
        raise AssertionError("a resumed run must not measure")

    monkeypatch.setattr(stack_size, "step_seconds", measure)
    for _ in range(2):
        assert prepare_artifacts(tmp_path, fleet("local"), devices=3, stack_sizes={"mlp-small": 3}) == {
            "mlp-small": 3
        }
    assert load_artifact(tmp_path / "artifacts" / "mlp-small-c3").manifest.stack_size == 3
