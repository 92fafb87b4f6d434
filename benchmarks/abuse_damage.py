"""Run folders for abuse.py: every file damaged in every way, and given to every command that reads runs."""

import functools
import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from abuse_workspace import Answer, Wanted, Workspace, contents, module

from raytrain.errors import ExitCode

RUN = "full"
"""The run that is damaged; `x` and `y` beside it are whole."""
HERE = ["--local", "--quiet", "--allow-code", "--json"]
READERS: dict[str, list[str]] = {
    "results": ["results", RUN, "--explain"],
    "results, the list": ["results"],
    "report": ["report", RUN],
    "audit": ["audit", RUN],
    "diff": ["diff", RUN, "y"],
    "judge": ["judge", RUN, "x"],
    "export": ["export", RUN, "-o", "model-again.pth", "--force", "--allow-code"],
    "plot": ["plot", RUN, "--kind", "val-accuracy"],
    "view": ["view", RUN, "y"],
    "plan": ["plan", f"{RUN}.yaml", "--local"],
    "log": ["log", RUN, "--to", "trackio", "--tracking-uri", "told", "--models"],
    "rerun": ["rerun", RUN, "--quiet", "--allow-code", "--json"],
}
WRITERS: dict[str, list[str]] = {
    "resume": ["resume", RUN, *HERE],
    "resume --repair": ["resume", RUN, *HERE, "--repair"],
    "prune": ["prune", RUN, "--yes"],
    "rm": ["rm", RUN, "--yes"],
}
"""Commands that change the run folder: each gets one of its own."""
MADE = re.compile(rf"model-again\.|{RUN}-|told/|runs/\.|runs/verdicts\.jsonl|runs/{RUN}-rerun|runs/{RUN}/")
"""Beginnings of what the commands write, with a slash at the end."""
REFUSED = {2, 3, 6}
"""Exit codes that say why there are no results; after 2 and 6, nothing has changed."""
NO_RESULT = re.compile(r'"[a-z_]*(seconds|attempts)[a-z_]*": [^,\n]+|\d+(\.\d+)? k?B\b')
"""What is another number each time that a trial is trained, and how large a folder is."""
ESTIMATES = re.compile(r"[\d.,\s─]+|\b(s|min|h)\b")
"""Numbers and spaces of a plan: how long trials will take depends on what else the machine does."""
SENT_AS_THEY_ARE = ("README.md", "report.html")
"""Files that `log` sends, and that are made from the others for readers."""


def damaged_runs(workspace: Workspace, wanted: Wanted) -> None:
    """Damage every file of a run folder in every way, and give it to every command that reads runs."""
    damages: dict[str, Callable[[Path], object]] = module("runs/test_damaged_folder.py").DAMAGES
    with quickly():
        workspace.renew()
        workspace.call(READERS["log"], "telling of the run before it is damaged")
        shutil.copytree("told", workspace.base / "told")
        whole: dict[str, Answer | None] = {}
        for name, words in (READERS | WRITERS).items():
            for _ in range(2):  # at the first call something may be imported, and warn
                put_back(workspace)
                before, whole[name] = whole.get(name), workspace.call(words, f"undamaged: {name}")
            assert not [*silent(name, whole[name], before)], (name, before, whole[name])
        for kind, file in kinds_of(workspace.pristine / "runs" / RUN).items():
            for how, damage in damages.items():
                if wanted(f"{kind} {how}"):
                    try_all(workspace, f"{kind} {how}", functools.partial(damage, Path("runs", RUN, file)), whole)


def try_all(workspace: Workspace, what: str, damage: Callable[[], object], whole: dict[str, Answer | None]) -> None:
    """Give a damaged run folder to every command.

    Args:
        workspace: The working folder and what is around it.
        what: File and damage, in words.
        damage: Function that does the damage.
        whole: What commands came to before the damage.
    """
    put_back(workspace)
    try:
        damage()
    except ValueError:  # a file without lines has none to lose
        return
    workspace.found.kinds.add(what)
    run = Path("runs", RUN)
    for name, words in (READERS | WRITERS).items():
        if name in WRITERS:
            put_back(workspace)
            damage()
        before, beside = contents(run), beside_the_run()
        workspace.found.inputs += 1
        answer = workspace.call(words, f"{what}: {name}")
        sent = name == "log" and what.startswith(SENT_AS_THEY_ARE)
        for problem in () if sent else silent(name, answer, whole[name]):
            workspace.found.note("silent changes", f"{what}: {name} {problem}")
        if beside_the_run() != beside:
            workspace.found.note("silent changes", f"{what}: {name} changed a file beside the run")
        changed = changed_files(before, contents(run))
        if answer and not may_change(name, answer, changed):
            workspace.found.note(
                "silent changes", f"{what}: {name}, exit code {answer.code}, changed {sorted(changed)[:3]}"
            )


def silent(name: str, answer: Answer | None, undamaged: Answer | None) -> Iterator[str]:
    """Yield what is wrong with an answer about a damaged run: other results, and nothing that says so."""
    if answer and undamaged and answer.code not in {ExitCode.BUG, *REFUSED} and answer.said == undamaged.said:
        if answer.code != undamaged.code:
            yield f"ends with {answer.code} instead of {undamaged.code} without a word"
        elif shown(name, answer) != shown(name, undamaged):
            yield "shows other results without a word"


def shown(name: str, answer: Answer) -> str:
    """Return what a command printed, without what is no result; of a page, the cells of its tables."""
    if name == "view":
        return "\n".join(re.findall(r"<t[dh]\b.*?</t[dh]>", answer.stdout, re.DOTALL))
    text = (ESTIMATES if name == "plan" else NO_RESULT).sub(" ", answer.stdout)
    return re.sub(r"[\s─]+", " ", text)  # a column is as wide as what is in it


def may_change(name: str, answer: Answer, changed: set[str]) -> bool:
    """Return whether a command may have changed these files of the run folder."""
    run = Path("runs", RUN)
    if name == "report":
        return all(Path(one).relative_to(run).parts[0] in {"report.html", "plots"} for one in changed)
    if name in READERS or (answer.code in {2, 6} and name != "resume --repair"):
        return not changed
    if name == "rm":
        return not run.exists()
    return name != "prune" or all("/checkpoint" in one for one in changed)


def changed_files(before: dict[str, Any], after: dict[str, Any]) -> set[str]:
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


def beside_the_run() -> dict[str, tuple[int, ...]]:
    """Return what is in the working folder that no command may change."""
    found = {name.removeprefix("./"): one for name, one in contents(Path()).items()}
    return {name: one for name, one in found.items() if not MADE.match(f"{name}/")}


def put_back(workspace: Workspace) -> None:
    """Put the run back as it was, and away what commands have made of it."""
    for path in [*Path().iterdir(), *Path("runs").iterdir()]:
        if MADE.match(f"{path}/"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.copytree(workspace.pristine / "runs" / RUN, Path("runs", RUN))
    if (workspace.base / "told").exists():
        shutil.copytree(workspace.base / "told", "told")


def kinds_of(run: Path) -> dict[str, Path]:
    """Return a file of each kind in a run folder, by its name without the names of trials, of events and of digests.

    Of the trials, one that has finished and one that has failed; of the checkpoints, the newest.
    """
    found: dict[str, Path] = {}
    results = [json.loads(line) for line in (run / "trials.jsonl").read_text().splitlines()]
    statuses = {result["trial"]: result["status"] for result in results}
    for path in sorted(path.relative_to(run) for path in run.rglob("*") if path.is_file()):
        parts = list(path.parts)
        if parts[0] == "trials":
            parts[1] = statuses[parts[1]]
            if parts[1] == "stopped" or (parts[1] == "failed" and (parts[2] == "tb" or path.name.startswith("best"))):
                continue  # nothing reads these otherwise than those of the one that has finished
        parts = ["EVENTS" if part.startswith("events.out") else part for part in parts]
        parts = ["DIGEST" if re.fullmatch("[0-9a-f]{12}", part) else re.sub(r"-\d{4}", "-N", part) for part in parts]
        found["/".join(parts)] = path
    return found


@contextmanager
def quickly() -> Iterator[None]:
    """Have thousands of commands take minutes: no charts are drawn, and what cannot change is kept.

    `view` is asked for its pages by a client in this process, and then ends.
    """
    from matplotlib.figure import Figure

    from raytrain.experiment import yaml_source
    from raytrain.provenance import manifest
    from raytrain.view import pages, server

    before = Figure.savefig, pages.figures, pages.render, yaml_source._parse, manifest.describe_code, server.serve
    Figure.savefig = lambda *_, **__: None
    pages.figures = read_only
    pages.render = cells_of
    yaml_source._parse = functools.lru_cache(yaml_source._parse)  # those who read it change nothing in it
    manifest.describe_code = functools.cache(manifest.describe_code)
    server.serve = ask_for_pages
    try:
        yield
    finally:
        Figure.savefig, pages.figures, pages.render, yaml_source._parse, manifest.describe_code, server.serve = before


def read_only(record: Any, *_: Any) -> dict[str, Any]:
    """Read what charts are made of, and make none."""
    for name in ("epochs", "predictions", "manifest", "experiment"):
        getattr(record, name)
    return {}


def cells_of(record: Any, **_: Any) -> str:
    """Return the table of a report as the cells of a page."""
    from raytrain.report.table import cells_by_heading

    read_only(record)
    return "".join(f"<td>{one}</td>" for column in cells_by_heading(record.ranking).values() for one in column)


async def ask_for_pages(runs: Any, **_: Any) -> None:
    """Print the pages of the server, as a browser gets them."""
    import typer
    from aiohttp.test_utils import TestClient, TestServer

    from raytrain.view.server import application

    async with TestClient(TestServer(application(runs, token="token"))) as client:
        for page in ("", f"run/{RUN}/content", f"compare/content?run={RUN}&run=y"):
            answer = await client.get(f"/token/{page}")
            text = re.sub(r"\b[0-9a-f]{16}\b", "", await answer.text())
            if answer.status >= 500 and answer.status != 503:
                raise RuntimeError(f"page {page!r}: status {answer.status}")
            typer.echo(text)
            if answer.status == 503:  # it says why it cannot be shown
                typer.echo(text, err=True)
