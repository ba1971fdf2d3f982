"""The device's side of rounds for torch users: a Flower ClientApp of their network, data and training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

# Before flwr: it switches flwr's telemetry and update check off.
from fedstill_proto import flower_records  # isort: skip
from fedstill_client.device_description import DeviceDescription
from fedstill_client.rounds.replies import answered, counts_reply, task_in
from fedstill_proto.system.extras import explain_missing
from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp as FlowerClientApp

from fedstill.examples import Device
from fedstill.flower.device import ToldInState, TorchDevice
from fedstill.flower.students import families_of, family_of_device
from fedstill.flower.training import train_as_planned

if TYPE_CHECKING:
    from fedstill.flower.students import Students
    from fedstill.flower.training import Train

NAME_KEY = "fedstill-name"  # of a node's configuration


class ClientApp(FlowerClientApp):
    """A Flower ClientApp whose devices learn by torch: the other end of `fedstill.flower.ServerApp`.

        app = fs.flower.ClientApp(Net, data=load_partition, classes=10, public=load_public)

    It answers fedstill's messages; others can be registered on it as on any ClientApp. Where an app has a
    train function already, `TorchClient` gives the handlers alone.

    Args:
        students: What devices learn, as for the ServerApp: a class or function of torch modules, the name of
            a family, a `fedstill.Student`, or several of those, which are dealt out by partition-id. A node's
            configuration may say which one it has, `fedstill-family`.
        data: Gives a node's private examples: (x, y), or a `fedstill.Device` with test examples of its own.
            Of (x, y), a quarter is held out to test on.
        classes: How many classes there are.
        public: The public set, which must be the server's: x [n, *shape], or (x, y) of which y is not read,
            or a function of the context that gives them. Methods that exchange soft labels of public
            examples need it.
        test: (x, y) that every device tests its student on, or a function of the context that gives them.
        train: The training function, of the network and a `LocalTraining`; by default devices train as the
            round's plan says, on the CPU.
        name: Gives a node's name; by default its configuration's `fedstill-name`, or device-<partition-id>,
            or node-<node id>.
        owner_share: How much of its label prior a device adds to what is tested; 0.3 as fedstill's agents do,
            0 tests the network as it is.

    Raises:
        FedstillError: A student's name stands for nothing.
    """

    def __init__(
        self,
        students: Students,
        *,
        data: Callable[[Context], tuple[Any, Any] | Device],
        classes: int,
        public: Any = None,
        test: Any = None,
        train: Train | None = None,
        name: Callable[[Context], str] | None = None,
        owner_share: float = 0.0,
    ) -> None:
        super().__init__()
        client = TorchClient(
            students=students,
            data=data,
            classes=classes,
            public=public,
            test=test,
            train=train,
            name=name,
            owner_share=owner_share,
        )
        self.query("hello")(client.on_hello)
        self.train()(client.on_train)
        self.evaluate()(client.on_evaluate)


@dataclass(frozen=True, kw_only=True)
class TorchClient:
    """The handlers of `ClientApp`, for a ClientApp of one's own; its arguments are the same.

        client = fs.flower.TorchClient(students=Net, data=load_partition, classes=10, public=load_public)

        @app.query("hello")
        def hello(message: Message, context: Context) -> Message:
            return client.on_hello(message, context)

        @app.train()
        def train(message: Message, context: Context) -> Message:
            return client.on_train(message, context)

        @app.evaluate()
        def evaluate(message: Message, context: Context) -> Message:
            return client.on_evaluate(message, context)

    A device's student is kept in its node's state, `context.state`. Where that is lost, as when a SuperNode
    restarts, the server sends a student with the next task.
    """

    students: Students
    data: Callable[[Context], tuple[Any, Any] | Device]
    classes: int
    public: Any = None
    test: Any = None
    train: Train | None = None
    name: Callable[[Context], str] | None = None
    owner_share: float = 0.0

    def __post_init__(self) -> None:
        with explain_missing("fedstill.flower", extra="server"):
            import torch  # noqa: F401
        families_of(self.students)

    def on_hello(self, message: Message, context: Context) -> Message:
        """Say who this device is; refuse a server that speaks another version of the protocol."""
        return answered(self._hello)(message, context)

    def on_train(self, message: Message, context: Context) -> Message:
        """Do the device's part of a round: train its student, and answer what the task asks for."""
        return answered(self._train)(message, context)

    def on_evaluate(self, message: Message, context: Context) -> Message:
        """Count the student's right answers on the device's own test examples and on everyone's."""
        return answered(self._evaluate)(message, context)

    def _hello(self, message: Message, context: Context) -> RecordDict:
        flower_records.read_hello(message.content)
        who = self._who(context)
        return flower_records.hello_reply(who.name, who.family)

    def _train(self, message: Message, context: Context) -> RecordDict:
        task = task_in(message, ToldInState(context.state))
        summary = self._device(context).perform(task, self.train or train_as_planned)
        return flower_records.pack("SoftLabelSummary", summary)

    def _evaluate(self, message: Message, context: Context) -> RecordDict:
        task = task_in(message, ToldInState(context.state))
        return counts_reply(self._device(context).evaluate(task))

    def _device(self, context: Context) -> TorchDevice:
        public, test = (given(context) if callable(given) else given for given in (self.public, self.test))
        return TorchDevice.of(
            self._who(context),
            self.data(context),
            classes=self.classes,
            public=public,
            test=test,
            state=context.state,
        )

    def _who(self, context: Context) -> DeviceDescription:
        config = context.node_config
        name = f"device-{config['partition-id']}" if "partition-id" in config else f"node-{context.node_id}"
        name = str(config.get(NAME_KEY, name)) if self.name is None else self.name(context)
        return DeviceDescription(name, family_of_device(self.students, name, config), self.owner_share)
