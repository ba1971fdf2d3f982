"""The cache of built artifacts."""

from __future__ import annotations

from pathlib import Path

import pytest
from fedstill_proto.messages import Optimizer
from fedstill_proto.package.artifact import TRAINING_FILE, TrainingArtifact
from fedstill_server.export import ArtifactOptions, GateError, build, build_artifact, student
from fedstill_server.export.cache import cache_key
from fedstill_server.families import initial_parameters


def built(cache: Path, *, stack_size: int = 2, verify: bool = True) -> TrainingArtifact:
    return build_artifact(
        ArtifactOptions(
            family="mlp-small",
            input_shape=(6,),
            classes=4,
            optimizer=Optimizer.SGD,
            soft_labels="none",
            stack_size=stack_size,
            step_rows=5,
        ),
        cache=cache,
        verify=verify,
    )


def test_the_second_build_reads_what_the_first_has_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = built(tmp_path)
    monkeypatch.setattr(build, "capture_training_step", None)  # cannot be built again

    second = built(tmp_path)

    assert second.manifest == first.manifest
    assert second.training_graph == first.training_graph
    assert [folder.name.rsplit("-", 1)[0] for folder in tmp_path.iterdir()] == ["mlp-small-sgd-c2"]


def test_a_damaged_entry_is_built_again(tmp_path: Path) -> None:
    first = built(tmp_path)
    (entry,) = tmp_path.iterdir()
    (entry / TRAINING_FILE).write_bytes(b"damaged")

    assert built(tmp_path).training_graph == first.training_graph
    assert (entry / TRAINING_FILE).read_bytes() == first.training_graph


def test_only_what_has_passed_the_gate_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(artifact: TrainingArtifact) -> None:
        raise GateError("must not ship")

    monkeypatch.setattr(build, "verify_artifact", refuse)

    built(tmp_path, verify=False)
    with pytest.raises(GateError):
        built(tmp_path)

    assert list(tmp_path.iterdir()) == []


def test_other_options_are_another_entry(tmp_path: Path) -> None:
    built(tmp_path)
    built(tmp_path, stack_size=1)

    assert len(list(tmp_path.iterdir())) == 2
    assert cache_key({"rows": 5}) == cache_key({"rows": 5}) != cache_key({"rows": 6})


def test_a_family_s_inference_graph_is_captured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def exported(seed: int) -> bytes:
        student._captured_anew.cache_clear()  # as in another process
        weights = initial_parameters("mlp-5", (6,), 4, seed)
        _, graph = student.export_student(
            family="mlp-5", input_shape=(6,), classes=4, parameters=weights, cache=tmp_path
        )
        return graph

    first = exported(1)
    (entry,) = tmp_path.iterdir()
    whole = entry.read_bytes()
    entry.write_bytes(whole[:-1])  # damaged: captured again
    assert exported(1) == first
    assert entry.read_bytes() == whole
    monkeypatch.setattr(student, "_capture", None)  # cannot be captured again

    assert exported(1) == first
    assert exported(2) != first  # with the weights of the one that is asked for
