"""Passwords and keys in a URI: refused, because a URI is written into manifests and logs."""

import re

from raytrain.errors import PreflightError

_CREDENTIALS = re.compile(
    r"://[^/?\s]*@"  # user:password@
    r"|://[^?\s]*:[^?\s]*@"  # a password with a slash in it
    r"|[?&][^=&\s]*(?:key|secret|token|passw|credential|sig)[^=&\s]*=",
    re.IGNORECASE,
)
_IN_THE_ENVIRONMENT = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, GOOGLE_APPLICATION_CREDENTIALS"


def refuse_credentials(location: str, *, instead: str = _IN_THE_ENVIRONMENT) -> None:
    """Refuse a URI with credentials in it: a run writes its command down, and processes are listed with theirs.

    Args:
        location: The URI, or any other text.
        instead: Names of the variables that hold them in the environment.

    Raises:
        PreflightError: There are some. The message does not repeat them.
    """
    if _CREDENTIALS.search(location):
        scheme = location.partition("://")[0]
        raise PreflightError(
            f"a {scheme}:// URI has credentials in it, which would be written into logs and manifests.\n"
            f"Leave them out, and set them in the environment ({instead})."
        )
