"""What a Ray that is started here keeps to itself: who may talk to it, where it listens, what it does not hear."""

import os
import secrets
import signal
import sys
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager


@contextmanager
def deaf_to_sigterm() -> Generator[None]:
    """Have the processes that start meanwhile block SIGTERM, as Ray has them block SIGINT.

    SLURM and systemd send it to every process of a job. A raylet that ends by it takes the driver along: what the
    driver has put into the object store is lost, and its search for it in a store that is gone calls `_Exit(1)`.
    """
    if sys.platform == "win32":
        yield
        return
    handler = signal.getsignal(signal.SIGTERM)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)  # `ray.init` answers it by an exit code of its own
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def loopback_only() -> Generator[None]:
    """Have a Ray that is started here listen on 127.0.0.1 and nowhere else, as Ray does by itself on macOS."""
    from ray._private import ray_constants

    changes = {ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR: "0"}
    if sys.platform == "linux":
        changes["GLOO_SOCKET_IFNAME"] = "lo"  # workers of one trial, too
    before = ray_constants.ENABLE_RAY_CLUSTER
    with environment(changes):
        ray_constants.ENABLE_RAY_CLUSTER = False
        try:
            yield
        finally:
            ray_constants.ENABLE_RAY_CLUSTER = before


@contextmanager
def own_token() -> Generator[None]:
    """Have Ray ask for a token that only this process and its children know, and that is on no disk."""
    from ray._raylet import AuthenticationTokenLoader, Config  # pyright: ignore[reportAttributeAccessIssue]

    def reread() -> None:
        # Ray remembers both from its import on
        Config.initialize("")
        AuthenticationTokenLoader.instance().reset_cache()

    try:
        with environment({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}):
            reread()
            yield
    finally:
        reread()


@contextmanager
def environment(changes: Mapping[str, str]) -> Generator[None]:
    """Set variables of the environment for as long as the context lasts."""
    before = {name: os.environ[name] for name in changes if name in os.environ}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name in changes:
            os.environ.pop(name, None)
        os.environ.update(before)
