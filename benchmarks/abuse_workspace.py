"""Where abuse.py gives its bad input: a working folder with runs, data and a model, and what is watched around it."""

import contextlib
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
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import typer.testing
from PIL import Image
from typer.testing import CliRunner

LIMIT_S = 120.0
"""Seconds after which a command hangs: each takes a fraction of a second, and the machine may be busy."""
TESTS = Path(__file__).parent.parent / "tests" / "cli"
TESTED = 10
"""Number of test images."""
NETWORK = f"""from torch import nn


class Net(nn.Module):
    def __init__(self, num_classes, *, width, breaks: bool = False, sign: int = 1):
        super().__init__()
        self.body = nn.Conv2d(3, 8 * width, 3, stride=2, padding=1)
        self.head = nn.Linear(8 * width, num_classes)
        self.breaks, self.sign = breaks, sign

    def forward(self, images):
        if self.breaks and len(images) == {TESTED}:
            raise ValueError("broken on purpose")
        return self.sign * self.head(self.body(images).relu().mean((2, 3)))
"""
"""Code of the user's: a network that may fail at the test, after the last checkpoint, or begin with what is wrong."""
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


class Workspace:
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

        forget()
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
        inside = f"{self.work}/"
        return {name: one for name, one in contents(self.base / "around").items() if not name.startswith(inside)}


def forget() -> None:
    """Have this process forget the code and the weights that a command before was told of, as a new process has."""
    from raytrain.training.initial import sources
    from raytrain.user_code import declared, source

    for known in (source._KEPT, sources._SOURCES, declared._KNOWN):
        known.clear()


def known_codes() -> set[int]:
    from raytrain.errors import ExitCode

    return {int(code) for code in ExitCode} - {ExitCode.BUG}


def contents(folder: Path) -> dict[str, tuple[int, ...]]:
    """Return what changes when a file in a folder is written, by path: its number, size, and when it was changed."""
    found: dict[str, tuple[int, ...]] = {}
    for parent, folders, files in os.walk(folder):  # Path.rglob takes four times as long
        found |= {f"{parent}/{name}": () for name in folders}
        for name in files:
            status = os.lstat(f"{parent}/{name}")
            found[f"{parent}/{name}"] = (status.st_ino, status.st_size, status.st_mtime_ns)
    return found


def module(name: str) -> ModuleType:
    """Import a file of tests, for the bad input that it knows."""
    spec = importlib.util.spec_from_file_location(Path(name).stem, TESTS / name)
    assert spec
    assert spec.loader
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def make(workspace: Workspace) -> None:
    """Make the workspace: images, two small runs under ASHA that have ended, one with all that a run may have, a model.

    `full` has code of the user's and initial weights, and its trials have finished, been stopped and failed.
    """
    os.chdir(workspace.pristine)
    for part, count in (("train", 20), ("test", TESTED // 2)):
        for name, low in (("dark", 0), ("bright", 128)):
            (folder := Path("data", part, name)).mkdir(parents=True)
            for index in range(count):
                Image.effect_noise((8, 8), 40).point(lambda v, low=low: v // 2 + low).convert("RGB").save(
                    folder / f"{index:02}.png"
                )
    recipe = {"dataset": "./data", "image_size": 8, "width": 2, "batch_size": 16, "val_size": 8, "epochs": 3}
    plain = {"recipe": recipe, "grid": {"lr": [0.02, 0.01]}, "asha": {"grace_period": 1}}
    Path("my_net.py").write_text(NETWORK)
    archs = ["my_net.py:Net", *({"my_net.py:Net": one} for one in ({"breaks": True}, {"sign": -1}))]
    full = plain | {"recipe": recipe | {"init": "first.pth", "lr": 0.01}, "grid": {"arch": archs}}
    Path("x.yaml").write_text(json.dumps(plain))
    for name in ("x", "y"):
        made(workspace, ["compare", "x.yaml", "--name", name, "--local", "--quiet"])
    made(workspace, ["export", "x", "-o", "model.pth"])
    first = {"recipe": recipe | {"arch": "my_net.py:Net", "epochs": 1}}
    Path("first.yaml").write_text(json.dumps(first))
    made(workspace, ["train", "first.yaml", "--local", "--quiet"])
    made(workspace, ["export", "first", "-o", "first.pth", "--allow-code"])
    made(workspace, ["rm", "first", "--yes"])
    Path("full.yaml").write_text(json.dumps(full))
    made(workspace, ["compare", "full.yaml", "--local", "--quiet"], code=4)
    statuses = {json.loads(line)["status"] for line in Path("runs/full/trials.jsonl").read_text().splitlines()}
    assert statuses >= {"finished", "stopped", "failed"}, statuses


def made(workspace: Workspace, words: list[str], *, code: int = 0) -> None:
    """Give a command that makes a part of the workspace."""
    answer = workspace.call(words, " ".join(words))
    assert answer, workspace.found.wrong
    assert answer.code == code, (words, answer)


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
    sys.dont_write_bytecode = True  # Python's own writing is not what is watched
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


def sample(only: str, every: int) -> Wanted:
    """Return what says of each input in turn whether to try it: those with a word in their name, and of them every Nth.

    Raises:
        ValueError: N is not positive.
    """
    if every < 1:
        raise ValueError(f"--every {every}: give 1 or more")
    seen = itertools.count()
    return lambda what: only in what and next(seen) % every == 0
