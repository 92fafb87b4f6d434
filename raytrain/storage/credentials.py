"""Passwords and keys in a URI: refused, because a URI is written into manifests and logs; masked where it is shown."""

import re

from raytrain.errors import PreflightError

_USER = re.compile(
    r"://[^?\s]*:[^?\s]*@"  # user:password@, and a password with a slash in it
    r"|://[^/?\s]*@"  # user@
)
_KEY = re.compile(r"([?&][^=&\s]*(?:key|secret|token|passw|credential|sig)[^=&\s]*=)[^&#\s]*", re.IGNORECASE)
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
    if _USER.search(location) or _KEY.search(location):
        scheme = location.partition("://")[0]
        raise PreflightError(
            f"a {scheme}:// URI has credentials in it, which would be written into logs and manifests.\n"
            f"Leave them out, and set them in the environment ({instead})."
        )


def without_credentials(text: str) -> str:
    """Return a URI, or a text with URIs in it, with the user, the password and keys masked."""
    return _KEY.sub(rf"\1{_MASK}", _USER.sub(f"://{_MASK}@", text))
