"""Pages of runs whose folders are in object storage: moto stands in for S3 on loopback."""

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from raytrain.storage.folder import Folder
from raytrain.view.server import application
from raytrain.view.watch import Runs

pytestmark = [pytest.mark.slow, pytest.mark.cluster, pytest.mark.timeout(300)]


@pytest.fixture
def bucket(s3_port: int) -> str:
    """The URI of a folder in an empty bucket."""
    return f"s3://ours/runs?endpoint_override=127.0.0.1:{s3_port}&scheme=http&region=us-east-1"


def test_a_run_in_a_bucket_is_listed_and_shown_and_an_open_page_hears_of_its_next_epoch(
    make_run: Any, bucket: str
) -> None:
    made = Path(str(make_run(grid={"lr": [0.1, 0.2]})))
    there = Folder.at(bucket) / "made"
    for file in made.rglob("*"):
        if file.is_file():
            place = there
            for part in file.relative_to(made).parent.parts:
                place /= part
            place.write(file.name, file.read_bytes())

    async def look() -> tuple[str, str, list[bytes], str]:
        runs = Runs(bucket)
        async with TestClient(TestServer(application(runs, token="secret", every_s=0.01))) as client:
            listed, page = [await (await client.get(f"/secret/{path}")).text() for path in ("", "run/made/")]
            seen = re.search(r'data-version="(\w+)"', page)
            assert seen
            async with client.get("/secret/run/made/events", params={"seen": seen[1]}) as stream:
                there.write("trials.jsonl", (made / "trials.jsonl").read_bytes().splitlines(keepends=True)[0])
                told = [await stream.content.readline() for _ in range(3)]
            return listed, page, told, await (await client.get("/secret/run/made/content")).text()

    listed, page, told, later = asyncio.run(look())
    assert "2 finished" in listed
    assert "2 finished" in page
    assert told[1] == b"event: change\n"
    assert "1 finished, 1 unfinished" in later
