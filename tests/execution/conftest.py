"""Runs in this process, whose reports would take longer than they do; tests/report and tests/cli look at reports."""

import pytest


@pytest.fixture(autouse=True)
def quick_end(request: pytest.FixtureRequest) -> None:
    """Leave the charts out of every report."""
    request.getfixturevalue("empty_report")
