"""Passwords and keys in a URI: refused, because a URI is written into manifests and logs; masked where it is shown."""

import re

from raytrain.errors import PreflightError

_USER = re.compile(
    r"://[^/\s]*:\S*@"  # user:password@, whatever the password holds: a /, ?, # or @ in it need not be encoded
    r"|(?<!s3)(?<!gs)://\S*:\S*@"  # the same of a user with a / in it; in s3:// and gs://, a path follows the /
    r"|://[^?\s]*\?\S*:\S*@"  # user:password@ of an address in the options behind the ?
    r"|://(?!anonymous@)[^/\s]*@|://anonymous@[^/\s]*@"  # user@, but not anonymous@: no account
)
_KEY = re.compile(r"([?&#][^=&\s]*(?:key|secret|token|passw|credential|sig)[^=&\s]*=)[^&\s]*", re.IGNORECASE)
_MASK = "***"
_IN_THE_ENVIRONMENT = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, GOOGLE_APPLICATION_CREDENTIALS"


def refuse_credentials(location: str, *, instead: str = _IN_THE_ENVIRONMENT) -> None:
    """Refuse a URI with credentials in it: a run writes its command down, and processes are listed with theirs.

    Args:
        location: The URI, or any other text.
        instead: Names of the variables that hold them in the environment.

    Raises:
        PreflightError: There are some. The message does not repeat them.
    """
    if _USER.search(_joined(location)) or _KEY.search(location):
        scheme = re.search(r"[\w+.-]+://", location)
        raise PreflightError(
            f"a {f'{scheme[0]} URI' if scheme else 'path'} has credentials in it, which would be written into logs and "
            f"manifests.\nLeave them out, and set them in the environment ({instead})."
        )


def is_cut_short(uri: str) -> bool:
    """Return whether a password in a URI has a /, ?, # or space that is not encoded, and so seems to end the host.

    Programs would then name what stands before it in messages of their own, as a host and a port.
    """
    host = re.match(r"[^:]*://[^/?#\s]*", uri)
    return bool(host) and "@" not in host[0] and bool(_USER.search(_joined(uri)))


def shown_uri(uri: str) -> str:
    """Return a URI with the user, the password and keys masked, also those that have a space in them."""
    return without_credentials(_joined(uri))


def without_credentials(text: str) -> str:
    """Return a text with URIs in it, with their users, passwords and keys masked."""
    return _KEY.sub(rf"\1{_MASK}", _USER.sub(f"://{_MASK}@", text))


def _joined(uri: str) -> str:
    return re.sub(r"\s", "+", uri)
