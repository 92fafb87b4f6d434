"""Bad input and damage, thousands of times: every command answers shortly, changes nothing, writes nowhere else.

python benchmarks/abuse.py [--output FILE] [--part options|damage|experiments] [--only WORD] [--every N]

1. Every option and argument of every command gets every bad value of its kind (abuse_inputs.py).
2. Every file of a run folder is damaged in ten ways, and read by every command that reads runs.
3. Experiment files that are wrong in every way that tests/cli/test_bad_input.py knows are planned and run.

All in this process, without Ray and without network. Four things are counted, and each must be 0: tracebacks, commands
that take longer than a limit, silent changes, writes outside. A change is silent when a value that only a refusal is
right for is taken, when a command that is refused or that only reads changes a file, or when a damaged run gives other
results without a word. A write is outside when it is not below the working folder, the home folder or the temporary
one; Python reports every file that it opens to write, and the folders around the working folder are compared too.
"""

import contextlib
import datetime
import functools
import importlib.util
import itertools
import json
import logging
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import typer.testing
from abuse_inputs import BadValue, bad_values
from comparison import RECORDS, Record, arguments
from PIL import Image
from typer.testing import CliRunner

LIMIT_S = 120.0
"""Seconds after which a command hangs: each takes a fraction of a second, and the machine may be busy."""
TESTS = Path(__file__).parent.parent / "tests" / "cli"
NOWHERE = ["--local", "--quiet", "--out", "out", "--set", "dataset=./nowhere"]
DASHBOARD = ["--address", "http://127.0.0.1:9"]
RIGHT = {("asha without validation", "train"), ("asha from after the end", "train")}
"""Wrong experiment files, and a command for which each is right: `train` has no ASHA."""
BASES: dict[tuple[str, ...], tuple[list[str], list[str]]] = {
    ("train",): ([], NOWHERE),
    ("compare",): ([], NOWHERE),
    ("tune",): ([], [*NOWHERE, "--grid", "lr=0.1,0.01"]),
    ("plan",): ([], ["--local", "--out", "out", "--set", "dataset=./nowhere"]),
    ("resume",): (["x"], ["--local", "--quiet"]),
    ("results",): (["x"], []),
    ("report",): (["x"], []),
    ("diff",): (["x", "y"], []),
    ("rerun",): (["x/nothing"], []),
    ("rm",): (["nothing"], []),
    ("prune",): (["nothing"], []),
    ("audit",): (["x"], []),
    ("judge",): (["x", "y"], []),
    ("view",): (["x"], []),
    ("log",): (["x"], ["--to", "mlflow", "--tracking-uri", "sqlite:///nowhere/mlflow.db"]),
    ("plot",): (["x"], ["--kind", "nothing"]),
    ("export",): (["x"], ["-o", "model-again.pth", "--force"]),
    ("evaluate",): (["model.pth"], ["--dataset", "data"]),
    ("predict",): (["model.pth", "data/test/dark/00.png"], []),
    ("submit",): (["raytrain", "train"], DASHBOARD),
    ("jobs",): ([], DASHBOARD),
    ("logs",): (["job"], DASHBOARD),
    ("stop",): (["job"], DASHBOARD),
    ("pull",): (["x"], DASHBOARD),
    ("doctor",): ([], ["--local", "--dataset", "data"]),
    ("fields",): ([], []),
    ("schema",): ([], []),
    ("new",): (["fresh"], []),
    ("baseline", "import"): (["nothing"], ["--name", "theirs"]),
    ("baseline", "list"): ([], []),
    ("baseline", "show"): (["nothing"], []),
    ("cluster", "template"): (["nothing"], []),
    ("cluster", "check"): (["nothing.yaml"], []),
    ("cluster", "up"): (["nothing.yaml"], []),
    ("cluster", "down"): (["nothing.yaml"], []),
    ("cluster", "status"): (["nothing.yaml"], []),
    ("data", "fetch"): (["data"], []),
    ("data", "verify"): (["data"], []),
}
"""A right call of every command, arguments and options, that trains nothing: one word of it is replaced or added."""
READERS: dict[str, list[str]] = {
    "results": ["results", "x", "--explain"],
    "report": ["report", "x"],
    "audit": ["audit", "x"],
    "diff": ["diff", "x", "y"],
    "export": ["export", "x", "-o", "model-again.pth", "--force"],
}
WRITES_INTO_THE_RUN = {"report", "resume"}
NAMES_A_PLACE = {"output", "out", "name", "experiment", "folder"}
"""Parameters in which a user may name a place outside; `name` of `new` only."""
Wanted = Callable[[str], bool]
"""What says of each input, by what it is, whether it is tried."""


class Hangs(BaseException):
    """A command has taken longer than the limit."""


@dataclass
class Found:
    """What was tried, and what went wrong."""

    inputs: int = 0
    kinds: set[str] = field(default_factory=set[str])
    exits: Counter[int] = field(default_factory=Counter[int])
    wrong: dict[str, list[str]] = field(
        default_factory=lambda: {"tracebacks": [], "hangs": [], "silent changes": [], "writes outside": []}
    )

    def note(self, what: str, where: str) -> None:
        """Keep something that went wrong, and print it."""
        self.wrong[what].append(where)
        print(f"{what}: {where}", flush=True)


@dataclass(frozen=True)
class Answer:
    """What a command came to: its exit code, what it printed, and what it said on standard error and in its log."""

    code: int
    stdout: str
    said: str


class Place:
    """A working folder with runs, data and a model, and folders around it in which nothing may change."""

    def __init__(self, base: Path, found: Found) -> None:
        self.base, self.found = base, found
        self.work = base / "around" / "folder" / "work"
        self.pristine = base / "pristine"
        self.outside: list[str] = []
        self._records: list[str] = []
        self._busy = False

    def watch(self) -> None:
        """Hear of every file that this process opens to write, and of every warning."""
        allowed = (f"{self.base}/", "/dev/", "/proc/")

        def hear(event: str, values: tuple[Any, ...]) -> None:
            if not self._busy or event not in {"open", "os.mkdir", "os.rename", "os.remove", "os.symlink"}:
                return
            path = values[1] if event in {"os.rename", "os.symlink"} else values[0]
            writes = event != "open" or bool((values[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
            if writes and isinstance(path, str | bytes | os.PathLike):
                whole = os.path.abspath(os.fsdecode(path))  # noqa: PTH100 (as the system takes it)
                if not whole.startswith(allowed):
                    self.outside.append(whole)

        sys.addaudithook(hear)
        handler = logging.Handler(logging.WARNING)
        handler.emit = lambda record: self._records.append(record.getMessage())
        logging.getLogger().addHandler(handler)

    def renew(self) -> None:
        """Put the working folder back as it was."""
        os.chdir(self.base)
        shutil.rmtree(self.base / "around", ignore_errors=True)
        (self.work.parent / "sentinel").parent.mkdir(parents=True)
        for folder in (self.work.parent, self.work.parent.parent):
            (folder / "sentinel").write_text("untouched")
        shutil.copytree(self.pristine, self.work)
        os.chdir(self.work)

    def call(self, words: list[str], what: str) -> Answer | None:
        """Return what a command came to; None where it went wrong, which is noted."""
        from raytrain.cli.app import app

        self._records.clear()
        self.outside.clear()
        self._busy = True
        signal.setitimer(signal.ITIMER_REAL, LIMIT_S)
        try:
            result = CliRunner().invoke(app, words)
        except Hangs:
            self.found.note("hangs", what)
            return None
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            self._busy = False
        said = result.stderr + "\n".join(self._records)
        if isinstance(result.exception, Hangs):
            self.found.note("hangs", what)
            return None
        bug = result.exception is not None and not isinstance(result.exception, SystemExit)
        if bug or result.exit_code not in known_codes() or "Traceback" in said + result.stdout:
            self.found.note("tracebacks", f"{what}: {result.exception!r:.300}")
        for path in dict.fromkeys(self.outside):
            self.found.note("writes outside", f"{what}: {path}")
        self.found.exits[result.exit_code] += 1
        return Answer(result.exit_code, result.stdout, said)

    def around(self) -> dict[str, tuple[int, ...]]:
        """Return what is in the folders around the working folder, by path."""
        tree = (self.base / "around").rglob("*")
        return contents(path for path in tree if self.work not in (path, *path.parents))


def known_codes() -> set[int]:
    from raytrain.errors import ExitCode

    return {int(code) for code in ExitCode} - {ExitCode.BUG}


def contents(paths: Iterator[Path]) -> dict[str, tuple[int, ...]]:
    """Return what changes when a file is written, by path: its number, its size, and when it was changed."""
    found: dict[str, tuple[int, ...]] = {}
    for path in paths:
        status = path.lstat()
        found[str(path)] = (status.st_ino, status.st_size, status.st_mtime_ns) if path.is_file() else ()
    return found


def module(name: str) -> ModuleType:
    """Import a file of tests, for the bad input that it knows."""
    spec = importlib.util.spec_from_file_location(Path(name).stem, TESTS / name)
    assert spec
    assert spec.loader
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def make(place: Place) -> None:
    """Make the place: images, a small run under ASHA that has ended, another beside it, and an exported model."""
    os.chdir(place.pristine)
    for part, count in (("train", 20), ("test", 5)):
        for name, low in (("dark", 0), ("bright", 128)):
            (folder := Path("data", part, name)).mkdir(parents=True)
            for index in range(count):
                Image.effect_noise((8, 8), 40).point(lambda v, low=low: v // 2 + low).convert("RGB").save(
                    folder / f"{index:02}.png"
                )
    recipe = {"dataset": "./data", "image_size": 8, "width": 2, "batch_size": 16, "val_size": 8, "epochs": 3}
    keys = {"recipe": recipe, "grid": {"lr": [0.02, 0.01]}, "asha": {"grace_period": 1}}
    Path("x.yaml").write_text(json.dumps(keys))
    for name in ("x", "y"):
        answer = place.call(["compare", "x.yaml", "--name", name, "--local", "--quiet"], f"making {name}")
        assert answer, place.found.wrong
        assert answer.code == 0, answer
    place.call(["export", "x", "-o", "model.pth"], "exporting")
    assert Path("model.pth").is_file()


def options(place: Place, wanted: Wanted) -> None:
    """Give every parameter of every command every bad value of its kind."""
    from raytrain.cli.app import app

    place.renew()
    before = contents(place.work.rglob("*"))
    around = place.around()
    for bad in bad_values(app):
        what = f"{' '.join(bad.command)} {bad.option or bad.parameter}: {bad.kind}"
        if not wanted(what):
            continue
        answer = place.call(words_of(bad), what)
        place.found.inputs += 1
        place.found.kinds.add(bad.kind)
        if answer and bad.refused and (answer.code == 0 or "nowhere" in answer.said or "127.0.0.1:9" in answer.said):
            place.found.note("silent changes", f"{what}: taken, exit code {answer.code}")
        after = contents(place.work.rglob("*"))
        changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
        may_write = bad.command[0] in WRITES_INTO_THE_RUN or not changed & before.keys()
        if changed and (not may_write or (answer and answer.code)):
            shown = ", ".join(str(Path(name).relative_to(place.work)) for name in sorted(changed)[:3])
            place.found.note("silent changes", f"{what}: exit code {answer and answer.code}, changed {shown}")
        if place.around() != around and bad.parameter not in NAMES_A_PLACE:
            place.found.note("writes outside", what)
        if changed or place.around() != around:
            place.renew()
            before, around = contents(place.work.rglob("*")), place.around()


def words_of(bad: BadValue) -> list[str]:
    """Return the words of the command line with the bad value in it."""
    given, base = BASES[bad.command]
    if not bad.option:
        words = [*given[: bad.position], bad.value, *given[bad.position + 1 :]]
        return [*bad.command, *base, "--", *words]
    glued = bad.is_flag or bad.value.startswith("-")
    return [*bad.command, *given, *base, *([f"{bad.option}={bad.value}"] if glued else [bad.option, bad.value])]


def damaged_runs(place: Place, wanted: Wanted) -> None:
    """Damage every file of a run folder in every way, and read it by every command that reads runs."""
    damages: dict[str, Callable[[Path], object]] = module("runs/test_damaged_folder.py").DAMAGES
    place.renew()
    run = place.work / "runs" / "x"
    files = sorted(path.relative_to(run) for path in run.rglob("*") if path.is_file())
    names = sorted({kind_of(file): file for file in files}.items())
    whole = {name: place.call(words, f"undamaged: {name}") for name, words in READERS.items()}
    for kind, file in names:
        for how, damage in damages.items():
            what = f"{kind} {how}"
            if not wanted(what):
                continue
            shutil.rmtree(run)
            shutil.copytree(place.pristine / "runs" / "x", run)
            try:
                damage(run / file)
            except ValueError:  # a file without lines has none to lose
                continue
            place.found.kinds.add(what)
            before = contents(run.rglob("*"))
            for name, words in READERS.items():
                place.found.inputs += 1
                answer = place.call(words, f"{what}: {name}")
                undamaged = whole[name]
                if answer and undamaged and answer.code == 0 and not answer.said and answer.stdout != undamaged.stdout:
                    place.found.note("silent changes", f"{what}: {name} shows other results without a word")
                after = contents(run.rglob("*"))
                if after != before and name not in WRITES_INTO_THE_RUN:
                    place.found.note("silent changes", f"{what}: {name} changed the run folder")
                before = after


def kind_of(file: Path) -> str:
    """Return the name of a file of a run folder without the names of trials and of events."""
    parts = ["TRIAL" if index == 1 and file.parts[0] == "trials" else part for index, part in enumerate(file.parts)]
    return "/".join("EVENTS" if part.startswith("events.out") else part for part in parts)


def experiments(place: Place, wanted: Wanted) -> None:
    """Plan, compare and train experiment files that are wrong."""
    bad = module("test_bad_input.py").FILES
    place.renew()
    for kind, (text, _) in bad.items():
        Path("bad.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
        before = contents(place.work.rglob("*"))
        for command in ("plan", "compare", "train"):
            what = f"experiment with {kind}: {command}"
            if (kind, command) in RIGHT or not wanted(what):
                continue
            place.found.inputs += 1
            place.found.kinds.add(kind)
            answer = place.call([command, "bad.yaml", *BASES[(command,)][1][:-2]], what)
            if answer and answer.code == 0:
                place.found.note("silent changes", f"{what}: taken")
            if contents(place.work.rglob("*")) != before:
                place.found.note("silent changes", f"{what}: a file changed")
                before = contents(place.work.rglob("*"))


@contextlib.contextmanager
def prepared(base: Path) -> Iterator[None]:
    """Have commands find a home and temporary files below `base`, draw no charts, serve no pages."""
    for name in ("home", "tmp", "pristine", "home/data"):
        (base / name).mkdir(parents=True)
    os.environ |= {
        "HOME": str(base / "home"),
        "XDG_STATE_HOME": str(base / "home/state"),
        "XDG_CACHE_HOME": str(base / "home/cache"),
        "RAYTRAIN_DATA": str(base / "home/data"),
        "TMPDIR": str(base / "tmp"),
        "COLUMNS": "200",
        "OMP_NUM_THREADS": "1",
    }
    for name in ("RAY_ADDRESS", "RAYTRAIN_OUT", "RAY_API_SERVER_ADDRESS"):
        os.environ.pop(name, None)
    tempfile.tempdir = str(base / "tmp")
    # built once, not for each of thousands of calls
    typer.testing._get_command = functools.cache(typer.testing._get_command)
    import raytrain.report.page as page
    import raytrain.view.server as server

    async def serve(*_: Any, **__: Any) -> None: ...

    page.render = lambda *_, **__: ""
    page.pictures = lambda *_, **__: {}
    server.serve = serve
    hangs = signal.signal(signal.SIGALRM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGALRM, hangs)


def stop(*_: object) -> None:
    raise Hangs


PARTS = {"options": options, "damage": damaged_runs, "experiments": experiments}


def sample(only: str, every: int) -> Wanted:
    """Return what says of each input in turn whether to try it: those with a word in their name, and of them every Nth.

    Raises:
        ValueError: N is not positive.
    """
    if every < 1:
        raise ValueError(f"--every {every}: give 1 or more")
    seen = itertools.count()
    return lambda what: only in what and next(seen) % every == 0


def tried(name: str, wanted: Wanted) -> dict[str, Any]:
    """Return what became of a part: inputs, kinds of fault, exit codes, and what went wrong."""
    found, started = Found(), time.perf_counter()
    here = Path.cwd()
    with tempfile.TemporaryDirectory(prefix="abuse-") as folder, prepared(Path(folder)):
        place = Place(Path(folder), found)
        place.watch()
        make(place)
        found.exits.clear()
        PARTS[name](place, wanted)
        os.chdir(here)
    seconds = round(time.perf_counter() - started)
    print(f"{name}: {found.inputs} inputs in {seconds} s", flush=True)
    exits = {str(code): count for code, count in sorted(found.exits.items())}
    about = {"date": datetime.datetime.now(datetime.UTC).date().isoformat(), "seconds": seconds, "inputs": found.inputs}
    return about | {"kinds": sorted(found.kinds), "exit codes": exits, "wrong": found.wrong}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--only", default="", help="try only what has this word in its name, and write no record")
    parser.add_argument("--every", type=int, default=1, help="try every Nth of these only, and write no record")
    parser.add_argument("--part", choices=PARTS, help="try one part only; the others stay in the record as they are")
    given = parser.parse_args()
    output = (given.output or RECORDS / "abuse.json").absolute()
    record = Record("abuse")
    now = {name: tried(name, sample(given.only, given.every)) for name in ([given.part] if given.part else PARTS)}
    # read at the end: another part may have been tried meanwhile
    before: dict[str, Any] = json.loads(output.read_text())["details"] if given.part and output.exists() else {}
    record.details |= before | now
    judge(record)
    if not given.only and given.every == 1:
        record.write(output)


def judge(record: Record) -> None:
    """Compare what became of all parts of a record with what was aimed at."""
    parts = record.details.values()
    kinds, inputs = sum(len(part["kinds"]) for part in parts), sum(part["inputs"] for part in parts)
    record.target("kinds of fault", kinds, "≥ 100", met=kinds >= 100)
    record.target("bad inputs", inputs, "≥ 1,500", met=inputs >= 1500)
    for what in Found().wrong:
        count = sum(len(part["wrong"][what]) for part in parts)
        record.target(what, count, "0", met=count == 0)


if __name__ == "__main__":
    main()
