"""What the package index shows of a release: README.md, with links that lead to the project's public address.

    make wheel URL=https://github.com/OWNER/raytrain

RAYTRAIN_URL holds that address while Hatch builds. Without it README.md is taken as it is, and there are no URLs.
"""

import os
import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

ADDRESS = "RAYTRAIN_URL"
"""Environment variable with the address of the repository, such as https://github.com/OWNER/raytrain."""
BRANCH = "main"
"""Branch that links lead to."""
_LINK = re.compile(r"(?P<before>(?P<picture>!?)\[[^\]]*\]\()(?!\w+:|#)(?P<path>[^)]+)\)")
"""A link or picture in Markdown whose target is a path."""


class AddressHook(MetadataHookInterface):
    """Fills in the readme and the URLs, which pyproject.toml calls dynamic."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Add the two to what pyproject.toml says."""
        address = os.environ.get(ADDRESS, "").rstrip("/")
        text = Path(self.root, "README.md").read_text(encoding="utf-8")
        if address or "readme" not in metadata:  # in a source distribution it is there, with its links
            metadata["readme"] = {"content-type": "text/markdown", "text": with_absolute_links(text, address)}
        if address:
            metadata["urls"] = {
                "Homepage": address,
                "Documentation": f"{address}/blob/{BRANCH}/docs/README.md",
                "Changelog": f"{address}/blob/{BRANCH}/CHANGELOG.md",
                "Issues": f"{address}/issues",
            }


def with_absolute_links(text: str, address: str) -> str:
    """Return a text in Markdown whose links and pictures in the repository have their address there.

    Args:
        text: The text.
        address: Address of the repository; empty leaves the text as it is.
    """

    def absolute(found: re.Match[str]) -> str:
        kind = "raw" if found["picture"] else "blob"
        return f"{found['before']}{address}/{kind}/{BRANCH}/{found['path']})"

    return _LINK.sub(absolute, text) if address else text
