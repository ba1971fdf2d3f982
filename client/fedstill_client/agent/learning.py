"""An agent's learning: the private store's examples, the installed package, and the options of this time."""

from __future__ import annotations

from fedstill_client.agent.constraint_gate import ConstraintGate
from fedstill_client.agent_types import LearningResult, OnProgress, PersonalizeOptions, Stop
from fedstill_client.device_description import DeviceDescription
from fedstill_client.home import AgentHome
from fedstill_client.keyboard.typed_rows import with_texts
from fedstill_client.learning import Budget, LearningSettings, learn
from fedstill_client.packages.install import load_installed
from fedstill_client.store import PrivateStore


def learn_now(
    home: AgentHome, store: PrivateStore, options: PersonalizeOptions, on_progress: OnProgress, stop: Stop
) -> LearningResult:
    """Learn until the budget of the options is spent, `stop` gives a reason, or nothing gets better."""
    package = load_installed(home, store)
    owner_share = DeviceDescription.read(home.folder).owner_share
    settings = LearningSettings.of(package.manifest, owner_share=owner_share)
    return learn(
        with_texts(store, package),
        package,
        settings=settings.with_options(options),
        budget=Budget(seconds=options.max_seconds, steps=options.max_steps),
        on_progress=on_progress,
        stop=stop,
        refuses=ConstraintGate(package, store).refuses,
    )
