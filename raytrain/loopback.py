"""This machine, reached directly: not through the proxy that the environment names for other hosts."""

import os
from urllib.request import getproxies_environment

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def without_proxy() -> dict[str, str]:
    """Return the variables of the environment with which HTTP to this machine goes to it directly.

    They are `no_proxy` and `NO_PROXY`, since some programs read the one and some the other, with the hosts that are
    listed there already. {} where no proxy is named, or where none is used for any host ("*").
    """
    listed = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    if not getproxies_environment() or listed.strip() == "*":
        return {}
    hosts = ",".join(dict.fromkeys([*filter(None, listed.split(",")), *LOOPBACK]))
    return {"no_proxy": hosts, "NO_PROXY": hosts}
