"""fedstill: one command for the simulator, the server and the agent.

`fedstill sim run` is `fedstill-sim run`, and so on. A part is loaded when it is called, and not before.
"""

from __future__ import annotations

import importlib
import sys

from fedstill_proto import __version__
from fedstill_proto.errors import FedstillError, unknown_name
from fedstill_proto.system.extras import explain_missing

_PARTS = {
    "sim": ("fedstill_sim.cli", "simulate a fleet on this machine, compare methods, write reports"),
    "server": ("fedstill_server.cli", "distil and sign students, bring a fleet up, look into its rounds"),
    "distill": ("fedstill_server.cli", "make a small student of a teacher, and pack it for devices"),
    "audit": ("fedstill_sim.cli", "attack what a simulated fleet sends of a device, beside what is promised"),
    "plan": ("fedstill_sim.cli", "say how many days, bytes and how much battery and epsilon a run will take"),
    "check": ("fedstill.deployment.check_command", "say what a network of yours comes to, before any run"),
    "agent": ("fedstill_client.cli", "be a device: enrol, personalize, predict, take part in rounds"),
}
_EXTRAS = {
    "sim": "sim",
    "audit": "sim",
    "plan": "sim",
    "server": "server",
    "distill": "server",
    "check": "server",
}
_HELP = """Usage: fedstill PART COMMAND [OPTIONS]

Federated distillation for fleets of devices: soft labels instead of models.

Parts:
{parts}

Options:
  --version   Print the version.
  -h, --help  Show this text; fedstill PART --help lists the commands of a part.

Start here:
  fedstill sim run digits --out runs/first

fedstill-sim, fedstill-server and fedstill-agent are the same parts by themselves."""


def main() -> None:
    """Hand the command line to the part that its first word names."""
    part, *words = sys.argv[1:] or ["--help"]
    if part in ("-h", "--help"):
        lines = (f"  {name:<9} {line}" for name, (_, line) in _PARTS.items())
        print(_HELP.format(parts="\n".join(lines)))
        return
    if part == "--version":
        print(f"fedstill {__version__}")
        return
    try:
        if part not in _PARTS:
            raise unknown_name("fedstill", part, _PARTS)
        # These are commands of the simulator and of the server, which have names of their own.
        own = part in ("audit", "plan", "distill")
        sys.argv = ["fedstill", part, *words] if own else [f"fedstill {part}", *words]
        with explain_missing(f"fedstill {part}", extra=_EXTRAS.get(part)):
            importlib.import_module(_PARTS[part][0]).main()
    except FedstillError as error:
        print(f"fedstill: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
