"""Bad input and damage, thousands of times: every command answers shortly, changes nothing, writes nowhere else.

python benchmarks/abuse.py [--output FILE] [--part options|damage|experiments] [--only WORD] [--every N]

1. Every option and argument of every command gets every bad value of its kind (abuse_inputs.py).
2. Every file of a run folder is damaged in twelve ways, and given to every command that reads runs (abuse_damage.py).
3. Experiment files that are wrong in every way that tests/cli/test_bad_input.py knows are planned and run.

All in this process, without Ray and without network. Four things are counted, and each must be 0: tracebacks, commands
that take longer than a limit, silent changes, writes outside. A change is silent when a value that only a refusal is
right for is taken, when a command that is refused or that only reads changes a file, or when a damaged run gives other
results without a word. A write is outside when it is not below the working folder, the home folder or the temporary
one; Python reports every file that it opens to write, and the folders around the working folder are compared too.
"""

import datetime
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from abuse_damage import damaged_runs
from abuse_inputs import BadValue, bad_values
from abuse_workspace import Found, Wanted, Workspace, contents, make, module, prepared, sample
from comparison import RECORDS, Record, arguments

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
WRITES_INTO_THE_RUN = {"report", "resume"}
NAMES_A_PATH_OUTSIDE = {"output", "out", "name", "experiment", "folder"}
"""Parameters in which a user may name a path outside; `name` of `new` only."""


def options(workspace: Workspace, wanted: Wanted) -> None:
    """Give every parameter of every command every bad value of its kind."""
    from raytrain.cli.app import app

    workspace.renew()
    before = contents(workspace.work)
    around = workspace.around()
    for bad in bad_values(app):
        what = f"{' '.join(bad.command)} {bad.option or bad.parameter}: {bad.kind}"
        if not wanted(what):
            continue
        answer = workspace.call(words_of(bad), what)
        workspace.found.inputs += 1
        workspace.found.kinds.add(bad.kind)
        if answer and bad.refused and (answer.code == 0 or "nowhere" in answer.said or "127.0.0.1:9" in answer.said):
            workspace.found.note("silent changes", f"{what}: taken, exit code {answer.code}")
        after = contents(workspace.work)
        changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
        may_write = bad.command[0] in WRITES_INTO_THE_RUN or not changed & before.keys()
        if changed and (not may_write or (answer and answer.code)):
            shown = ", ".join(str(Path(name).relative_to(workspace.work)) for name in sorted(changed)[:3])
            workspace.found.note("silent changes", f"{what}: exit code {answer and answer.code}, changed {shown}")
        if workspace.around() != around and bad.parameter not in NAMES_A_PATH_OUTSIDE:
            workspace.found.note("writes outside", what)
        if changed or workspace.around() != around:
            workspace.renew()
            before, around = contents(workspace.work), workspace.around()


def words_of(bad: BadValue) -> list[str]:
    """Return the words of the command line with the bad value in it."""
    given, base = BASES[bad.command]
    if not bad.option:
        words = [*given[: bad.position], bad.value, *given[bad.position + 1 :]]
        return [*bad.command, *base, "--", *words]
    glued = bad.is_flag or bad.value.startswith("-")
    return [*bad.command, *given, *base, *([f"{bad.option}={bad.value}"] if glued else [bad.option, bad.value])]


def experiments(workspace: Workspace, wanted: Wanted) -> None:
    """Plan, compare and train experiment files that are wrong."""
    bad = module("test_bad_input.py").FILES
    workspace.renew()
    for kind, (text, _) in bad.items():
        Path("bad.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
        before = contents(workspace.work)
        for command in ("plan", "compare", "train"):
            what = f"experiment with {kind}: {command}"
            if (kind, command) in RIGHT or not wanted(what):
                continue
            workspace.found.inputs += 1
            workspace.found.kinds.add(kind)
            answer = workspace.call([command, "bad.yaml", *BASES[(command,)][1][:-2]], what)
            if answer and answer.code == 0:
                workspace.found.note("silent changes", f"{what}: taken")
            if contents(workspace.work) != before:
                workspace.found.note("silent changes", f"{what}: a file changed")
                before = contents(workspace.work)


PARTS = {"options": options, "damage": damaged_runs, "experiments": experiments}


def tried(name: str, wanted: Wanted) -> dict[str, Any]:
    """Return what became of a part: inputs, kinds of fault, exit codes, and what went wrong."""
    found, started = Found(), time.perf_counter()
    here = Path.cwd()
    with tempfile.TemporaryDirectory(prefix="abuse-") as folder, prepared(Path(folder)):
        workspace = Workspace(Path(folder), found)
        workspace.watch()
        make(workspace)
        found.exits.clear()
        PARTS[name](workspace, wanted)
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
    kinds = len({kind for part in parts for kind in part["kinds"]})  # two parts may have one, such as "infinity"
    inputs = sum(part["inputs"] for part in parts)
    record.target("kinds of fault", kinds, "≥ 100", met=kinds >= 100)
    record.target("bad inputs", inputs, "≥ 1,500", met=inputs >= 1500)
    for what in Found().wrong:
        count = sum(len(part["wrong"][what]) for part in parts)
        record.target(what, count, "0", met=count == 0)


if __name__ == "__main__":
    main()
