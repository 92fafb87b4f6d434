"""Tests of raytrain.view.server and its pages: who is answered, and what they see of runs that are being written."""

import asyncio
import json
import re
import shutil
import stat
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from yarl import URL

from raytrain.cli.runs.view import redirection
from raytrain.errors import RunFolderError
from raytrain.report.html import packed_plotly
from raytrain.storage.folder import Folder
from raytrain.view import watch
from raytrain.view.pages import summary
from raytrain.view.server import application
from raytrain.view.watch import Runs

pytestmark = pytest.mark.slow  # Plotly's 4.6 MB of JavaScript to compress

Client = TestClient[Any, Any]
GRID = {"lr": [0.1, 0.2], "schedule": ["cosine", "constant"]}


def ask(runs: Runs, use: Callable[[Client], Awaitable[Any]]) -> Any:
    """Return what a function gets from a server of these runs."""

    async def main() -> Any:
        async with TestClient(TestServer(application(runs, token="secret", every_s=0.01))) as client:
            return await use(client)

    return asyncio.run(main())


def get(runs: Runs, path: str, *, method: str = "GET", **headers: str) -> tuple[int, str, dict[str, str]]:
    """Return the status, the text and the headers of one answer."""

    async def use(client: Client) -> tuple[int, str, dict[str, str]]:
        address = URL(f"{client.make_url('/')}{path.removeprefix('/')}", encoded=True)
        async with client.session.request(method, address, headers=headers, allow_redirects=False) as answer:
            return answer.status, await answer.text(), dict(answer.headers)

    return ask(runs, use)


@pytest.fixture
def runs(make_run: Any) -> Runs:
    return Runs(make_run().parent)


@pytest.mark.parametrize("path", ["/", "/wrong/", "/wrong/run/made/", "/secre/", "/secret2/", "/?token=secret", "//"])
def test_a_path_without_the_token_is_refused(runs: Runs, path: str) -> None:
    status, text, _ = get(runs, path)
    assert status == 403
    assert "made" not in text


@pytest.mark.parametrize("host", ["example.org", "127.0.0.1.example.org", "127.0.0.2:80", "", "[::1", "localhost@evil"])
def test_another_host_is_refused_even_with_the_token(runs: Runs, host: str) -> None:
    assert get(runs, "/secret/", Host=host)[0] == 403


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1:1", "[::1]:8000"])
def test_the_names_of_this_machine_are_answered_at_any_port(runs: Runs, host: str) -> None:
    assert get(runs, "/secret/", Host=host)[0] == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_nothing_can_be_sent(runs: Runs, method: str) -> None:
    for path in ("/secret/", "/secret/run/made/", "/secret/run/made/events"):
        assert get(runs, path, method=method)[0] == 405


@pytest.mark.parametrize(
    "path",
    [
        "run/../", "run/%2e%2e/", "run/..%2f..%2fetc/", "run/made/../../made/report.html", "run/made/manifest.json",
        "run/%2Fetc/", "run/absent/", "nothing", "compare/?run=made", "compare/?run=made&run=..", "compare/",
    ],
)  # fmt: skip
def test_what_is_no_page_of_a_run_is_not_found(runs: Runs, path: str) -> None:
    assert get(runs, f"/secret/{path}")[0] == 404


def test_pages_run_their_own_scripts_only_and_are_kept_by_nobody(make_run: Any) -> None:
    shown = Runs(make_run("a").parent)
    make_run("b")
    for path in ("", "run/a/", "compare/?run=a&run=b"):
        status, text, headers = get(shown, f"/secret/{path}")
        assert status == 200
        policy = re.search(r'<meta http-equiv="Content-Security-Policy" content="([^"]+)">', text)
        assert policy
        rules = dict(rule.strip().split(" ", 1) for rule in policy[1].split(";"))
        assert (rules["default-src"], rules["connect-src"], rules["base-uri"]) == ("'none'", "'self'", "'none'")
        assert all(one.startswith("'sha256-") for one in rules["script-src"].split())
        assert len(rules["script-src"].split()) >= len(re.findall("<script>", text))
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert (headers["Cache-Control"], headers["Referrer-Policy"]) == ("no-store", "no-referrer")


def test_the_list_has_a_row_for_each_run_and_says_why_one_cannot_be_read(make_run: Any) -> None:
    shown = Runs(make_run("good", grid=GRID, ends={1: "diverged"}).parent)
    make_run("bad").write("trials.jsonl", b"no line\n{}\n")
    _, text, _ = get(shown, "/secret/")
    good, bad = (re.search(rf'<a href="run/{name}/">.*?</tr>', text, re.DOTALL) for name in ("good", "bad"))
    assert good
    assert bad
    for words in ("digits", "4 of 4", "1 diverged, 3 finished", "lr 0.1"):
        assert words in good[0]
    assert "is damaged" in bad[0]


def test_a_finished_run_in_which_trials_are_left_paused_is_not_called_interrupted(make_run: Any) -> None:
    folder = make_run(grid={"lr": [0.1, 0.2]}, asha={"mode": "promote"}, ends={1: "paused"})
    row = summary("made", folder)
    assert row.state == "1 finished, 1 paused"
    assert row.trials == "2 of 2"
    manifest = json.loads(folder.read("manifest.json"))
    del manifest["sessions"][-1]["ended"]
    folder.write("manifest.json", json.dumps(manifest).encode())
    assert summary("made", folder).state.startswith("trains, or was killed; last written")


def test_a_report_is_that_of_the_run_with_a_script_that_keeps_it_up_to_date(make_run: Any) -> None:
    folder = make_run(grid=GRID)
    _, page, _ = get(Runs(folder.parent), "/secret/run/made/")
    for words in ('<section id="ranking"', '<section id="grid"', "EventSource", "All runs", packed_plotly()):
        assert words in page
    _, content, _ = get(Runs(folder.parent), "/secret/run/made/content")
    assert content == page.replace(packed_plotly(), "")


def test_two_runs_are_ranked_together_and_their_differences_listed(make_run: Any) -> None:
    shown = Runs(make_run("a", grid={"lr": [0.1, 0.2]}).parent)
    make_run("b", grid={"lr": [0.1, 0.3]})
    _, page, _ = get(shown, "/secret/compare/?run=a&run=b")
    assert re.findall(r'id="chart-([a-z]+-\d)"', page) == ["accuracy-0", "accuracy-1", "loss-0", "loss-1"]
    assert "McNemar" in page
    ranking = page.split('<section id="ranking">')[1].split("</table>")[0]
    assert ranking.count("<tr>") == 1 + 4
    assert "grid.lr" in page.split('<section id="differences">')[1]


def test_two_runs_on_different_images_have_a_table_for_each_data_set(make_run: Any) -> None:
    shown = Runs(make_run("a", grid={"lr": [0.1, 0.2]}).parent)
    folder = make_run("b", grid={"lr": [0.1, 0.2, 0.3]})
    manifest = json.loads(folder.read("manifest.json"))
    manifest["data"] = dict.fromkeys(manifest["data"], "other")
    folder.write("manifest.json", json.dumps(manifest).encode())
    status, page, _ = get(shown, "/secret/compare/?run=a&run=b")
    assert status == 200
    ranking = page.split('<section id="ranking">')[1].split("</section>")[0]
    assert [table.count("<tr>") for table in ranking.split("</table>")[:-1]] == [1 + 2, 1 + 3]
    assert [heading[-3:] for heading in re.findall("<h3>(.*)</h3>", ranking)] == [": a", ": b"]


def test_a_run_that_is_being_written_has_its_page(make_run: Any) -> None:
    folder = make_run(grid=GRID)
    for name in ("events.jsonl", "trials.jsonl"):
        lines = folder.read(name).splitlines(keepends=True)
        folder.write(name, b"".join(lines[:-1]) + lines[-1][:20])  # half a line, as a reader may find it
    trial = (folder / "trials").names()[0]
    (folder / "trials" / trial).append("metrics.jsonl", b'{"epoch": 9, "tra')
    status, page, _ = get(Runs(folder.parent), "/secret/run/made/")
    assert status == 200
    assert "1 unfinished" in page
    assert "interrupted" in get(Runs(folder.parent), "/secret/")[1]


def set_back(folder: Folder) -> None:
    """Make a run one that trains: of its trials the last runs, the one before it waits, and the others have ended."""
    manifest = json.loads(folder.read("manifest.json"))
    del manifest["sessions"][-1]["ended"]
    folder.write("manifest.json", json.dumps(manifest).encode())
    waits, runs = (json.loads(line)["trial"] for line in folder.read("trials.jsonl").splitlines()[-2:])
    for name in ("trials.jsonl", "events.jsonl"):
        lines = [(json.loads(line), line) for line in folder.read(name).splitlines(keepends=True)]
        lines = [(one, line) for one, line in lines if one.get("trial") != waits]
        kept = [line for one, line in lines if one.get("trial") != runs or one.get("event") == "started"]
        folder.write(name, b"".join(kept))


def test_a_page_tells_trials_that_run_from_those_that_wait(make_run: Any) -> None:
    folder = make_run(grid=GRID)
    set_back(folder)
    _, page, _ = get(Runs(folder.parent), "/secret/run/made/")
    assert "2 finished, 1 running, 1 waiting" in page
    assert re.findall(r"<td[^>]*>(running|waiting|unfinished)</td>", page) == ["running", "waiting"] * 2, (
        "in the ranking and in the heat map"
    )
    assert "now, unless it was killed" in page
    figures = re.search(r'id="figures">(.*?)</script>', page)
    assert figures
    (bars,) = json.loads(figures[1])["timeline"]["timeline"]["data"]
    assert Counter(status for _, status in bars["customdata"]) == {"finished": 2, "running": 1}
    _, page, _ = get(Runs(make_run("ended").parent), "/secret/run/ended/")
    assert "now, unless it was killed" not in page


def test_a_run_that_has_only_begun_says_so_and_does_not_ask_for_a_repair(make_run: Any) -> None:
    folder = make_run()
    first = folder.read("events.jsonl").splitlines(keepends=True)[0]
    for name in ("manifest.json", "trials.jsonl"):
        folder.delete(name)
    (folder / "trials").remove()
    folder.write("events.jsonl", first)
    for path in ("/secret/", "/secret/run/made/"):
        _, page, _ = get(Runs(folder.parent), path)
        assert "The run begins; no trial has started yet." in page
        assert "--repair" not in page


def test_a_run_that_has_lost_its_manifest_and_its_events_does_not_only_begin(make_run: Any) -> None:
    folder = make_run()
    for name in ("manifest.json", "events.jsonl"):
        folder.delete(name)
    _, page, _ = get(Runs(folder.parent), "/secret/run/made/")
    assert "manifest.json: is missing" in page


def test_two_runs_beside_each_other_tell_trials_that_run_from_those_that_wait(make_run: Any) -> None:
    for name in ("a", "b"):
        set_back(make_run(name, grid=GRID))
    make_run("c", ends={0: "diverged"}, grid=GRID)
    out = Runs(make_run("d").parent)
    _, page, _ = get(out, "/secret/compare/?run=a&run=b")
    assert re.findall(r"<td[^>]*>(running|waiting|unfinished)</td>", page) == [
        "running",
        "running",
        "waiting",
        "waiting",
    ]
    _, page, _ = get(out, "/secret/compare/?run=c&run=a")
    rows = re.findall(r"<td[^>]*>(a|c)</td>.*?<td[^>]*>([^<]*)</td></tr>", page)
    assert sorted(rows) == [
        ("a", "finished"), ("a", "finished, chosen"), ("a", "running"), ("a", "waiting"),
        ("c", "diverged at epoch 3"), ("c", "finished"), ("c", "finished"), ("c", "finished"),
    ]  # fmt: skip


def test_a_run_before_its_manifest_and_one_that_vanished_say_so(make_run: Any) -> None:
    folder = make_run()
    named = Runs(folder.parent, ["made"])
    folder.delete("manifest.json")
    status, page, _ = get(named, "/secret/run/made/")
    assert status == 503
    assert "manifest.json: is missing" in page
    shutil.rmtree(str(folder))
    status, page, _ = get(named, "/secret/run/made/")
    assert status == 503
    assert "is gone" in page
    assert "EventSource" in page, "it is shown again when it comes back"
    assert get(Runs(folder.parent), "/secret/run/made/")[0] == 404


def test_an_open_page_hears_of_a_change_and_gets_the_new_one(make_run: Any) -> None:
    folder = make_run()
    before = folder.read("trials.jsonl")
    folder.write("trials.jsonl", b"")

    async def use(client: Client) -> tuple[str, list[bytes], str]:
        page = await (await client.get("/secret/run/made/")).text()
        seen = re.search(r'data-version="(\w+)"', page)
        assert seen
        async with client.get("/secret/run/made/events", params={"seen": seen[1]}) as stream:
            assert stream.content_type == "text/event-stream"
            folder.write("trials.jsonl", before)
            told = [await stream.content.readline() for _ in range(3)]
            content = await (await client.get("/secret/run/made/content")).text()
        return page, told, content

    page, told, content = ask(Runs(folder.parent), use)
    assert "1 unfinished" in page
    assert told[1] == b"event: change\n"
    assert "1 finished" in content
    assert told[2].decode().split()[1] in content, "the page is of the version that was announced"


@pytest.fixture
def listing(monkeypatch: pytest.MonkeyPatch) -> dict[str, bool]:
    """What decides whether the folder of the runs can be listed."""
    can, list_runs = {"be listed": True}, watch.list_runs

    def listed(out: str) -> list[str]:
        if can["be listed"]:
            return list_runs(out)
        raise RunFolderError(f"{out} cannot be listed (it does not answer)")

    monkeypatch.setattr(watch, "list_runs", listed)
    return can


@pytest.mark.parametrize("path", ["", "run/a/", "compare/?run=a&run=b"])
def test_a_page_says_so_while_runs_cannot_be_listed_and_comes_back(
    make_run: Any, listing: dict[str, bool], path: str
) -> None:
    shown = Runs(make_run("a").parent)
    make_run("b")

    async def use(client: Client) -> list[tuple[int, str]]:
        answers: list[tuple[int, str]] = []
        for listing["be listed"] in (False, True):
            answer = await client.get(f"/secret/{path}")
            answers.append((answer.status, await answer.text()))
        return answers

    (status, page), (later, _) = ask(shown, use)
    assert (status, later) == (503, 200)
    assert "cannot be listed (it does not answer)" in page
    assert "EventSource" in page, "it is shown once they can be"


@pytest.mark.parametrize("path", ["events", "run/made/events"])
def test_a_stream_goes_on_while_runs_cannot_be_listed(runs: Runs, listing: dict[str, bool], path: str) -> None:
    listing["be listed"] = False

    async def use(client: Client) -> tuple[int, bytes]:
        async with client.get(f"/secret/{path}") as stream:
            listing["be listed"] = True
            return stream.status, [await stream.content.readline() for _ in range(2)][1]

    assert ask(runs, use) == (200, b"event: change\n")


def test_the_server_ends_while_a_stream_is_open(make_run: Any) -> None:
    folder = make_run()

    async def use(client: Client) -> int:
        return (await client.get("/secret/events", params={"seen": "old"})).status

    assert ask(Runs(folder.parent), use) == 200


def test_a_browser_is_given_a_private_page_and_not_the_token(tmp_path: Path) -> None:
    address = "http://127.0.0.1:8000/secret&token/"
    page = redirection(address, tmp_path)
    assert "secret" not in page.as_uri()
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    assert 'content="0;url=http://127.0.0.1:8000/secret&amp;token/"' in page.read_text()
