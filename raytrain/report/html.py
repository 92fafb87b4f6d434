"""What the pages of a run are made with: templates, Plotly's code, and the policy of what a page may load."""

import base64
import gzip
import hashlib
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from plotly.offline import get_plotlyjs

from raytrain.report.text.quantities import duration, per_cent
from raytrain.report.text.visible import quoted, visible

_TEMPLATES = Path(__file__).parent / "templates"


@cache
def environment(*folders: Path) -> Environment:
    """Return the templates of `folders`, then those of the report; they escape what they show."""
    made = Environment(
        loader=FileSystemLoader([*folders, _TEMPLATES]),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_visible,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.policies["json.dumps_kwargs"] = {"sort_keys": False}  # charts show their first variant first
    filters: dict[str, Any] = made.filters
    filters |= {"per_cent": per_cent, "duration": duration, "transposed": _transposed, "quoted": quoted}
    return made


def _transposed(columns: Iterable[Sequence[str]]) -> list[tuple[str, ...]]:
    return list(zip(*columns, strict=True))


@cache
def packed_plotly() -> str:
    """Return Plotly's JavaScript, compressed: 1.4 MB in place of 4.6; the page unpacks it."""
    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), mtime=0)).decode()


def policy(*scripts: str, served: bool = False) -> str:
    """Return a Content-Security-Policy under which a page runs these scripts only, and loads nothing.

    Plotly writes styles as it draws, so styles in the page are allowed; a style alone sends nothing anywhere. A page
    that is `served` may ask its own server, and no other.
    """
    hashes = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{one}'" for one in hashes) or "'none'"
    own = "connect-src 'self'; " if served else ""
    forms = "'self'" if served else "'none'"
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; {own}"
        f"base-uri 'none'; form-action {forms}"
    )


def _visible(value: object) -> object:
    """Return what a template shows, with what cannot be seen in it as escapes; HTML of our own stays as it is."""
    return visible(value) if isinstance(value, str) and not hasattr(value, "__html__") else value
