"""The proxy that the environment names for an address."""

from __future__ import annotations

import urllib.request
from urllib.parse import urlsplit


def proxy_of(url: str) -> str:
    """The proxy that HTTPS_PROXY and NO_PROXY name for an address; empty for none."""
    proxies = urllib.request.getproxies_environment()
    named = proxies.get("https") or proxies.get("all") or ""
    if not named or urllib.request.proxy_bypass(urlsplit(url).netloc):
        return ""
    return named if "://" in named else f"http://{named}"
