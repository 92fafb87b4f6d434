"""The dashboard of a Ray cluster: where it is, and whether it would take a job from us."""

import ipaddress
import json
import os
import urllib.error
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

from raytrain.errors import ClusterError
from raytrain.machine import without_proxy
from raytrain.storage.credentials import refuse_credentials

DEFAULT_ADDRESS = "http://127.0.0.1:8265"
VERSION_TIMEOUT_S = 5.0
"""Seconds within which a dashboard must say which version of Ray it runs."""
REFUSED = (
    "the Ray dashboard at {address} refused the token.\n"
    "Give the cluster's token in RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH or ~/.ray/auth_token."
)


def find(address: str | None, *, insecure: bool) -> str:
    """Return the URL of the dashboard at `address`, once it has answered.

    Args:
        address: URL, or host:port; None takes RAY_API_SERVER_ADDRESS, RAY_ADDRESS, or the usual one on this machine.
        insecure: Talk to another host even without a token.

    Raises:
        ClusterError: Nobody answers there, the token is missing or wrong, or another version runs there.
        PreflightError: The address has a password in it.
    """
    named = (address, os.environ.get("RAY_API_SERVER_ADDRESS"), os.environ.get("RAY_ADDRESS"))
    given = next((one for one in named if one and one.lower() != "local"), DEFAULT_ADDRESS)  # "local" is no address
    url = (given if "://" in given else f"http://{given}").rstrip("/")
    refuse_credentials(url, instead="RAY_AUTH_TOKEN")
    try:
        urlsplit(url)
    except ValueError as error:
        raise ClusterError(f"{given} is no address of a dashboard ({error}); give host:port or a URL") from None
    _use_token_if_there_is_one()
    os.environ.update(without_proxy())  # Ray's client in this process reads it, too
    _check(url, insecure=insecure)
    return url


def _use_token_if_there_is_one() -> None:
    """Have Ray send the user's token; it does so only when asked to, before its import."""
    if os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH") or _own_token_file():
        os.environ.setdefault("RAY_AUTH_MODE", "token")


def _own_token_file() -> Path | None:
    """Return the file in the user's home that holds the token; None where there is none, or no home."""
    try:
        file = Path.home() / ".ray" / "auth_token"
    except RuntimeError:
        return None
    return file if file.is_file() else None


def _authorization() -> dict[str, str]:
    """Return the header with the user's token, from where Ray's documentation says that it may be; {} without one."""
    token = os.environ.get("RAY_AUTH_TOKEN", "")
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    file = Path(named) if named else _own_token_file()
    if not token and file and file.is_file():
        token = file.read_text(encoding="utf-8")
    return {"Authorization": f"Bearer {token.strip()}"} if token.strip() else {}


def _check(address: str, *, insecure: bool) -> None:
    """Raise ClusterError unless a dashboard of our version of Ray answers at `address` and takes our token."""
    import ray

    parts = urlsplit(address)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ClusterError(f"{address}: give the URL of a Ray dashboard, such as {DEFAULT_ADDRESS}")
    headers = _authorization()
    if not headers and not insecure and not _is_loopback(parts.hostname):
        raise ClusterError(
            f"{address} is another host, and there is no token: anyone who reaches its dashboard can run code there.\n"
            "Set RAY_AUTH_TOKEN, open a tunnel with `ray dashboard cluster.yaml`, or add --insecure."
        )
    try:
        request = urllib.request.Request(f"{address}/api/version", headers=headers)
        with urllib.request.urlopen(request, timeout=VERSION_TIMEOUT_S) as answer:
            version = str(cast("dict[str, object]", json.load(answer))["ray_version"])
    except urllib.error.HTTPError as error:
        if error.code in {401, 403}:
            raise ClusterError(REFUSED.format(address=address)) from error
        raise ClusterError(f"{address} answers, but not as a Ray dashboard ({error})") from error
    except (HTTPException, KeyError, TypeError, ValueError) as error:
        raise ClusterError(f"{address} answers, but not as a Ray dashboard") from error
    except OSError as error:
        reason = getattr(error, "reason", error)
        raise ClusterError(
            f"no Ray dashboard answers at {address} ({reason}).\n"
            "Start the cluster, open a tunnel with `ray dashboard cluster.yaml`, or give its --address."
        ) from error
    if version.split(".")[:2] != ray.__version__.split(".")[:2]:
        raise ClusterError(
            f"Ray {version} runs at {address}, but {ray.__version__} here; install the same version on both sides"
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name, such as 127.evil.example
        return host == "localhost"


@contextmanager
def no_address_in_environment() -> Generator[None]:
    """Keep Ray from reading the address from the environment: there it goes before the argument."""
    before = {name: os.environ.pop(name) for name in ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS") if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(before)
