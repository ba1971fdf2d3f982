"""Why a model of Hugging Face cannot be used."""

from __future__ import annotations

from fedstill_server.plugins import PluginError


class HubModelError(PluginError):
    """A folder that holds no model that can be opened here, or one that does not fit what is asked of it."""
