"""Calls through a real socket: what gets through whole, and what is refused with which words."""

from __future__ import annotations

import socket
import stat
import time
from collections.abc import Iterator

import grpc
import numpy as np
import pytest
from fedstill_client import AgentClient
from fedstill_client.agent_types import (
    AgentBusy,
    AgentError,
    AgentRefused,
    AgentUnavailable,
    Forgotten,
    LearningProgress,
    PersonalizeOptions,
)
from fedstill_client.home import AgentHome, HomeError
from fedstill_client.service.endpoint import serving_lock
from fedstill_client.service.server import SERVICE
from fedstill_client.service.wire import MESSAGE_LIMIT_BYTES
from fedstill_proto.errors import InvalidValue, UnknownName
from fedstill_proto.v1 import agent_pb2 as pb
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from tests.client.recording_agent import BEST, RESULT, Recorder, recording_service, short_home
from tests.client.samples import examples


@pytest.fixture
def home() -> Iterator[AgentHome]:
    with short_home() as made:
        yield made


@pytest.fixture
def agent(home: AgentHome) -> Iterator[Recorder]:
    with recording_service(home) as recorder:
        yield recorder


@pytest.fixture
def client(home: AgentHome, agent: Recorder) -> Iterator[AgentClient]:
    with AgentClient(home.folder) as opened:
        yield opened


class TestAnswers:
    """What an app gets."""

    def test_predictions_are_the_student_s_own(self, client: AgentClient, agent: Recorder) -> None:
        x, _ = examples(25)

        np.testing.assert_array_equal(client.predict(x), agent.predictor.predict(x))
        np.testing.assert_array_equal(client.predict(x.tolist()), agent.predictor.predict(x))

    def test_whom_to_answer(self, client: AgentClient, agent: Recorder) -> None:
        x, _ = examples(2)

        client.predict(x)
        client.predict(x, scope="everyone")

        assert agent.scopes == ["owner", "everyone"]
        with pytest.raises(UnknownName, match="did you mean everyone"):
            client.predict(x, scope="everyones")  # type: ignore[arg-type]

    def test_examples_arrive_as_they_were_sent(self, client: AgentClient, agent: Recorder) -> None:
        x, labels = examples(4)

        assert client.observe(x, labels) == (0, 1, 2, 3)
        np.testing.assert_array_equal(agent.kept[0][0], x)
        np.testing.assert_array_equal(agent.kept[0][1], labels)
        assert agent.kept[0][1].dtype == np.int64

    def test_learning_tells_where_it_stands_and_then_its_result(
        self, client: AgentClient, agent: Recorder
    ) -> None:
        seen: list[LearningProgress] = []

        result = client.personalize(PersonalizeOptions(epochs=7, soft_weight=0.0), on_progress=seen.append)

        assert result == RESULT
        assert [(p.steps, p.best) for p in seen] == [(1, None), (2, BEST)]
        assert agent.options == [PersonalizeOptions(epochs=7, soft_weight=0.0)]

    def test_who_stops_listening_stops_the_learning(self, client: AgentClient, agent: Recorder) -> None:
        agent.endless = True
        learning = client.learning()
        assert isinstance(next(learning), LearningProgress)

        with pytest.raises(AgentBusy, match="learning already"):
            client.personalize()
        learning.close()  # type: ignore[attr-defined]

        deadline = time.monotonic() + 5
        while not agent.stopped and time.monotonic() < deadline:
            time.sleep(0.02)
        assert agent.stopped == ["the call that asked for it has ended"]

    def test_status(self, client: AgentClient, agent: Recorder) -> None:
        assert client.status() == agent.status()

    def test_forgetting(self, client: AgentClient, agent: Recorder) -> None:
        assert client.forget(ids=(3, 5)) == Forgotten(4, 1, True)
        client.forget(before=0.0)
        client.forget(everything=True)

        assert agent.forgotten == [((3, 5), None, False), (None, 0.0, False), (None, None, True)]
        with pytest.raises(AgentRefused, match="forget: names nothing"):
            client.forget()


class TestRefusals:
    """What is wrong is named, and its kind is in the status code."""

    @pytest.mark.parametrize(
        ("array", "words"),
        [
            (pb.AgentArray(), r"x\.element_type: 0 is none of float32, int64, uint8"),
            (
                pb.AgentArray(element_type=1, shape=[2, 6], data=b"1234"),
                r"x\.data: 4 bytes; \[2, 6\] of float32",
            ),
            (pb.AgentArray(element_type=1, shape=[0] * 9), r"x\.shape: 9 dimensions, more than 8"),
            (
                pb.AgentArray(element_type=1, shape=[2], data=np.array([1, np.nan], "<f4").tobytes()),
                r"x\[1\]: is not a finite number",
            ),
            (pb.AgentArray(element_type=1, shape=[1 << 31, 1 << 31, 1 << 31], data=b""), r"x\.data: 0 bytes"),
        ],
    )
    def test_arrays_that_are_none(self, client: AgentClient, array: pb.AgentArray, words: str) -> None:
        with pytest.raises(grpc.RpcError, match=words) as caught:
            client._stub.Predict(pb.PredictRequest(x=array))

        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT

    def test_a_scope_that_is_none(self, client: AgentClient) -> None:
        with pytest.raises(grpc.RpcError, match="scope: 7 is neither the owner's nor everyone's"):
            client._stub.Predict(pb.PredictRequest(text="turn on", scope=7))  # type: ignore[arg-type]

    def test_a_shape_that_the_student_does_not_take(self, client: AgentClient) -> None:
        with pytest.raises(AgentError, match=r"takes real numbers of shape \[n, 6\]"):
            client.predict(np.zeros((2, 5)))

    def test_more_than_a_message_holds(self, client: AgentClient) -> None:
        with pytest.raises(InvalidValue, match=f"send {MESSAGE_LIMIT_BYTES} at most"):
            client.predict(np.zeros((1 << 20, 6)))
        with pytest.raises(grpc.RpcError, match="larger than max") as caught:
            client._stub.Forget(pb.ForgetRequest(example_ids=[1 << 63] * 2_000_000))
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED

    def test_options_out_of_range(self, client: AgentClient) -> None:
        with pytest.raises(InvalidValue, match="soft_weight: 2"):
            PersonalizeOptions(soft_weight=2.0)
        with pytest.raises(grpc.RpcError, match="temperature: 0") as caught:
            list(client._stub.Personalize(pb.PersonalizeRequest(temperature=0.0)))
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT

    def test_no_agent(self, home: AgentHome) -> None:
        with pytest.raises(AgentUnavailable, match="start one with: fedstill-agent serve --home"):
            AgentClient(home.folder)


class TestSocket:
    """Who may connect, and who else may serve."""

    def test_it_is_its_owner_s_alone(self, home: AgentHome, agent: Recorder) -> None:
        assert stat.S_IMODE(home.socket.stat().st_mode) == 0o600
        assert stat.S_IMODE(home.folder.stat().st_mode) == 0o700

    def test_a_home_that_others_may_look_into(self, home: AgentHome) -> None:
        home.folder.chmod(0o750)
        with pytest.raises(HomeError, match="run: chmod 700"), serving_lock(home):
            pass

    def test_one_service_a_home(self, home: AgentHome, agent: Recorder) -> None:
        with pytest.raises(AgentError, match="serves this home already"), serving_lock(home):
            pass
        assert home.socket.exists()

    def test_what_a_killed_service_left_is_taken_away(self, home: AgentHome) -> None:
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(home.socket))

        with serving_lock(home):
            assert not home.socket.exists()

    def test_a_socket_that_answers_is_left_alone(self, home: AgentHome) -> None:
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(home.socket))
            other.listen()
            with pytest.raises(AgentError, match="another process answers"), serving_lock(home):
                pass
        assert home.socket.exists()

    def test_a_path_that_no_socket_can_have(self, home: AgentHome) -> None:
        far = AgentHome(home.folder / ("x" * 100))
        far.create()
        with pytest.raises(AgentError, match="107 bytes at most"), serving_lock(far):
            pass

    def test_health_and_reflection(self, home: AgentHome, agent: Recorder) -> None:
        with grpc.insecure_channel(f"unix:{home.socket}") as channel:
            checks = health_pb2_grpc.HealthStub(channel)
            for name in ("", SERVICE):
                answer = checks.Check(health_pb2.HealthCheckRequest(service=name))
                assert answer.status == health_pb2.HealthCheckResponse.SERVING
            assert SERVICE in ProtoReflectionDescriptorDatabase(channel).get_services()
