"""The Flower ClientApp: what a device answers to the server's messages.

Flower starts a new process for each message, so nothing is kept in memory: the device's folder is opened
each time. It is named by the node's configuration, `fedstill-device`, or by the environment,
FEDSTILL_DEVICE_FOLDER; a "{partition}" in it stands for the node's partition-id, as Flower's simulation
numbers its nodes.

    query.hello   ConfigRecord (protocol, run)  ->  ConfigRecord (see HelloReply)
    train         RoundTask                     ->  SoftLabelSummary
    evaluate      RoundTask                     ->  MetricRecord of counts
    query.release the question what came of a package  ->  its report (see releases/report.py)
    query.sum_*   a step's question             ->  its answer (see fedstill_proto.secure_sums)

What goes wrong is answered with one of the fixed words of fedstill_proto.refusal; the log has the details.
An agent's device works only while it may (see eligibility/): it refuses, or stops within seconds.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import fedstill_proto

# Before flwr: it switches flwr's telemetry and update check off.
from fedstill_proto import flower_records  # isort: skip
from fedstill_proto.codec.sum_codec import SUM_LIMIT_BYTES
from fedstill_proto.secure_sums.enrolled import EnrolledDevices
from fedstill_proto.system.release_report import read_release_question, release_answer
from flwr.app import Context, Message, RecordDict

from fedstill_client.agent_types import Stop
from fedstill_client.device_description import DeviceDescription, DeviceError
from fedstill_client.eligibility import Eligibility
from fedstill_client.fleet.enrol import source_of
from fedstill_client.fleet.membership import Membership
from fedstill_client.fleet.node import write_node
from fedstill_client.home import DEVICE_FOLDER_VARIABLE, AgentHome
from fedstill_client.packages.install import installed_manifest
from fedstill_client.packages.plan import rounds_off
from fedstill_client.privacy.guard import has_room
from fedstill_client.privacy.policy import DevicePolicy
from fedstill_client.privacy.statement import read_statement
from fedstill_client.releases.report import release_report
from fedstill_client.rounds.device import FleetDevice, told_labels
from fedstill_client.rounds.replies import AnsweringApp, answered, counts_reply, noting_refusals, task_in
from fedstill_client.rounds.round import Interrupted, RoundsOff
from fedstill_client.secure_sums.home_sums import HomeSums
from fedstill_client.store import PrivateStore

FOLDER_KEY = "fedstill-device"
_LOOK_EVERY_S = 1.0  # at the fleet's release plan, while working

app = AnsweringApp()


@app.query("hello")
@answered
def hello(message: Message, context: Context) -> RecordDict:
    """Tell who this device is; refuse a server that speaks another version of the protocol."""
    flower_records.read_hello(message.content)
    folder = device_folder(context)
    description = DeviceDescription.read(folder)
    if not AgentHome.is_at(folder):
        return flower_records.hello_reply(description.name, description.family)
    home = AgentHome(folder)
    write_node(home, context.node_id)
    with PrivateStore.open(home) as store:
        manifest, _ = installed_manifest(home, store)
        policy, said = DevicePolicy.read(folder), read_statement(folder)
        has_room_left = has_room(store.ledger, policy, said, release=manifest.package_version)
    return flower_records.hello_reply(
        description.name,
        description.family,
        package_version=manifest.package_version,
        generation=manifest.generation,
        agent=fedstill_proto.__version__,
        willing=has_room_left and not rounds_off(home) and Eligibility(folder)() is None,
    )


@app.train()
@answered
def train(message: Message, context: Context) -> RecordDict:
    """Do the device's part of a round."""
    folder = device_folder(context)
    task = task_in(message, told_labels(folder))
    with noting_refusals(folder, task):
        stop = _eligibility(folder)
        with FleetDevice.opened(folder) as device:
            return flower_records.pack("SoftLabelSummary", device.perform(task, stop=stop))


@app.evaluate()
@answered
def evaluate(message: Message, context: Context) -> RecordDict:
    """Count the student's right answers on this device's held-out examples and on everyone's."""
    folder = device_folder(context)
    task = task_in(message, told_labels(folder))
    with noting_refusals(folder, task):
        stop = _eligibility(folder)
        with FleetDevice.opened(folder) as device:
            return counts_reply(device.evaluate(task, stop=stop))


@app.query("release")
@answered
def release(message: Message, context: Context) -> RecordDict:
    """Tell what came of the package in use."""
    read_release_question(message.content)
    folder = device_folder(context)
    if not AgentHome.is_at(folder):
        raise DeviceError(f"{folder}: a plain device folder has no package; enrol an agent for that")
    home = AgentHome(folder)
    with PrivateStore.open(home) as store:
        return release_answer(release_report(home, store, run=Membership.read(home).run))


@app.query("sum_deal")
@answered
def sum_deal(message: Message, context: Context) -> RecordDict:
    """Deal shares to the neighbours in a sum's group."""
    return _sum_step("deal", message, context)


@app.query("sum_mask")
@answered
def sum_mask(message: Message, context: Context) -> RecordDict:
    """Send the device's numbers, masked."""
    return _sum_step("mask", message, context)


@app.query("sum_agree")
@answered
def sum_agree(message: Message, context: Context) -> RecordDict:
    """Sign who is in the sum."""
    return _sum_step("agree", message, context)


@app.query("sum_reveal")
@answered
def sum_reveal(message: Message, context: Context) -> RecordDict:
    """Reveal one share of each neighbour."""
    return _sum_step("reveal", message, context)


def _sum_step(step: str, message: Message, context: Context) -> RecordDict:
    question = flower_records.unpack(message.content, "SumQuestion", size_limit_bytes=SUM_LIMIT_BYTES)
    folder = device_folder(context)
    if not AgentHome.is_at(folder):
        raise DeviceError(f"{folder}: a plain device folder takes part in no sum; enrol an agent for that")
    home = AgentHome(folder)

    def fetch() -> EnrolledDevices:
        return source_of(home, Membership.read(home)).enrolled()

    with PrivateStore.open(home) as store:
        sums = HomeSums(home, store, DevicePolicy.read(folder))
        return flower_records.pack("SumAnswer", sums.answer(step, question, fetch))


def device_folder(context: Context) -> Path:
    """The folder of the device that this Flower node is."""
    template = context.node_config.get(FOLDER_KEY) or os.environ.get(DEVICE_FOLDER_VARIABLE)
    if not template:
        raise DeviceError(
            f"this node does not know its device folder; start the SuperNode with "
            f"--node-config '{FOLDER_KEY}=\"/path/to/device\"' or set {DEVICE_FOLDER_VARIABLE}."
        )
    folder = str(template)
    if "{partition}" in folder:
        if "partition-id" not in context.node_config:
            raise DeviceError(f"{folder}: the node has no partition-id to put in place of {{partition}}.")
        folder = folder.replace("{partition}", str(context.node_config["partition-id"]))
    return Path(folder)


def _eligibility(folder: Path) -> Stop | None:
    """What to ask while working; raises where an agent's device may not work, or its fleet does not want it.

    Raises:
        Interrupted: The device may not.
        RoundsOff: The fleet's operator has switched rounds off.
    """
    if not AgentHome.is_at(folder):
        return None
    home, eligibility = AgentHome(folder), Eligibility(folder)
    if rounds_off(home):
        raise RoundsOff(f"{home.release_plan}: the fleet's operator has switched rounds off.")
    if (reason := eligibility()) is not None:
        raise Interrupted(reason)
    looked_at = time.monotonic()

    def stop() -> str | None:
        nonlocal looked_at
        if time.monotonic() - looked_at >= _LOOK_EVERY_S:
            looked_at = time.monotonic()
            if rounds_off(home):
                return "the fleet's operator has switched rounds off"
        return eligibility()

    return stop
