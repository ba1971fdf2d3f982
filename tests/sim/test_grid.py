"""The in-process Grid: an ordinary ServerApp meets handlers that answer a whole push at once."""

import time
from collections.abc import Sequence

import fedstill_proto.flower_records  # noqa: F401  (before flwr)
import pytest
from fedstill_sim.engine.grid import GridError, InProcessGrid
from flwr.app import ConfigRecord, Context, Error, Message, RecordDict
from flwr.serverapp import Grid, ServerApp


def record(number: int) -> RecordDict:
    return RecordDict({"numbers": ConfigRecord({"value": number})})


def value(content: RecordDict) -> int:
    config = content["numbers"]
    assert isinstance(config, ConfigRecord)
    number = config["value"]
    assert isinstance(number, int)
    return number


class Adder:
    """Answers with the device's number added; device 2 always fails. Remembers its calls."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []

    def __call__(self, devices: Sequence[int], contents: Sequence[RecordDict]) -> list[RecordDict | Error]:
        self.calls.append(list(devices))
        return [
            Error(code=0, reason="broken") if device == 2 else record(value(content) + device)
            for device, content in zip(devices, contents, strict=True)
        ]


def messages(grid: Grid, message_type: str = "train") -> list[Message]:
    return [Message(record(10), node, message_type) for node in grid.get_node_ids()]


def test_an_ordinary_server_app_runs_on_it() -> None:
    adder = Adder()
    seen: dict[int, int | str] = {}
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        assert context.run_config["fedstill-run"] == "here"
        sent = messages(grid)
        for reply in grid.send_and_receive(sent):
            node = reply.metadata.src_node_id
            seen[node] = reply.error.reason if reply.has_error() else value(reply.content)

    grid = InProcessGrid(devices=4, handlers={"train": adder})
    app(grid, grid.context(run_config={"fedstill-run": "here"}))

    assert seen == {2: 10, 3: 11, 4: "broken", 5: 13}
    assert adder.calls == [[0, 1, 2, 3]]


def test_a_reply_names_the_message_it_answers_and_is_handed_out_once() -> None:
    grid = InProcessGrid(devices=2, handlers={"train": Adder()})
    names = grid.push_messages(messages(grid))
    replies = grid.pull_messages(names)
    assert [reply.metadata.reply_to_message_id for reply in replies] == names
    assert grid.pull_messages(names) == []


def test_each_message_type_has_its_handler() -> None:
    train, evaluate = Adder(), Adder()
    grid = InProcessGrid(devices=1, handlers={"train": train, "evaluate": evaluate})
    grid.push_messages(messages(grid, "evaluate") + messages(grid, "train"))
    assert train.calls == [[0]]
    assert evaluate.calls == [[0]]


def test_what_nobody_answers_is_an_error() -> None:
    grid = InProcessGrid(devices=1, handlers={"train": Adder()})
    with pytest.raises(GridError, match=r"messages of type 'query\.name'; known: train"):
        grid.push_messages(messages(grid, "query.name"))
    with pytest.raises(GridError, match="message to node 9: not a node of this fleet"):
        grid.push_messages([Message(record(1), 9, "train")])


def test_a_message_costs_a_tenth_of_a_millisecond() -> None:
    def seconds() -> float:
        grid = InProcessGrid(devices=1000, handlers={"train": lambda devices, contents: list(contents)})
        sent = messages(grid)
        start = time.process_time()
        assert len(grid.send_and_receive(sent)) == 1000
        return time.process_time() - start

    # The best of some: what else the machine does is no matter of the Grid.
    assert min(seconds() for _ in range(5)) / 1000 < 1e-4
