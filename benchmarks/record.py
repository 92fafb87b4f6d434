"""Write the record of a run, and the tables of records in README.md and docs/.

python benchmarks/record.py runs/quick        # write experiments/records/quick.json, then the tables
python benchmarks/record.py --table           # write the tables only

The benchmarks write their own records.
"""

import argparse
import base64
import json
import re
import statistics
from pathlib import Path
from typing import Any

from comparison import recorded_code

from raytrain.analysis.ranking import rank
from raytrain.analysis.record import read_record
from raytrain.metrics.predictions import Predictions
from raytrain.report.table import markdown
from raytrain.runs.results import TrialResult
from raytrain.storage.folder import Folder

ROOT = Path(__file__).parent.parent
RECORDS = ROOT / "experiments" / "records"
DOCUMENTS = (
    "README.md",
    "docs/benchmarks.md",
    "docs/data.md",
    "docs/faults.md",
    "docs/fine-tuning.md",
    "docs/search.md",
    "docs/statistics.md",
)
"""Documents that show records."""
_BLOCK = re.compile(r"(<!-- record: (\S+) -->\n).*?(<!-- end of record -->)", re.DOTALL)
_TIMED = re.compile(r"(<!-- accuracies after equal times: (\S+) -->\n).*?(<!-- end of accuracies -->)", re.DOTALL)
_BENCHMARKS = re.compile(r"(<!-- benchmarks: (.+?) -->\n).*?(<!-- end of benchmarks -->)", re.DOTALL)
_SIMULATION = re.compile(r"(<!-- simulation: (\S+) -->\n).*?(<!-- end of simulation -->)", re.DOTALL)
_MEASURED = re.compile(r"(<!-- measured: (\S+) -->\n).*?(<!-- end of measured -->)", re.DOTALL)

_ABUSE = re.compile(r"(<!-- abuse: (\S+) -->\n).*?(<!-- end of abuse -->)", re.DOTALL)


def keep(run: str) -> Path:
    """Write the record of a run and return its path."""
    folder = Folder.at(run)
    manifest = json.loads(folder.read("manifest.json"))
    for session in manifest["sessions"]:
        session["code"] = recorded_code(session["code"])
        del session["machine"]["host"]
    run_record = read_record(folder)
    results = run_record.state.results()
    predictions = {trial: base64.b64encode(seen.to_bytes()).decode() for trial, seen in run_record.predictions.items()}
    record = {
        **manifest,
        "results": [vars(result) for result in results],
        "epochs": {trial: list(rows) for trial, rows in run_record.epochs.items()},
        "predictions": predictions,
    }
    path = RECORDS / f"{Path(run).name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1) + "\n")
    return path


def shown(record: dict[str, Any]) -> str:
    """Return the ranked table of a record in Markdown; below it the command, the date, the machine and the versions."""
    results = [TrialResult(**values) for values in record["results"]]
    predictions = {
        trial: Predictions.from_bytes(base64.b64decode(text)) for trial, text in record.get("predictions", {}).items()
    }
    session = record["sessions"][0]
    planned = len(record["seeds"])
    seeds = len({result.recipe["seed"] for result in results if result.status == "finished"})
    of = f"{seeds} of {planned} seeds so far" if seeds < planned else f"{seeds} seed{'s' if seeds > 1 else ''}"
    return (
        f"{markdown(rank(results, predictions))}\n"
        f"`{' '.join(session['command'])}`, {session['started'][:10]}, {of}, on "
        f"{where(session)}.\n"
    )


def where(about: dict[str, Any]) -> str:
    """Return the machine and the versions of a record."""
    code, machine = about["code"], about["machine"]
    gpus = ", ".join(machine["gpus"]) or "no GPU"
    packages = [f"{name} {code['packages'][name]}" for name in ("torch", "ray") if code["packages"][name]]
    return (
        f"{machine['cores']} cores of {machine['processor']}, {gpus}; raytrain {code['raytrain']}, "
        f"{', '.join(packages)}, Python {code['python']}"
    )


def benchmarks(names: list[str]) -> str:
    """Return the table of records of benchmarks: a row for each comparison and each target.

    A sentence stands for those that have no record yet.

    Args:
        names: Of the benchmarks. "epoch" stands for all rows of its record, "epoch[0]" for its first comparison only.
    """
    if missing := [name for name in names if not (RECORDS / f"bench-{name.partition('[')[0]}.json").exists()]:
        there = [name for name in names if name not in missing]
        return (f"{benchmarks(there)}\n" if there else "") + f"There is no record yet of {' and '.join(missing)}.\n"
    records: list[dict[str, Any]] = []
    compared = False
    lines = ["| what | ours | compared with | times as fast | target |", "| :-- | --: | :-- | --: | :-- |"]
    for text in names:
        name, _, index = text.rstrip("]").partition("[")
        record = json.loads((RECORDS / f"bench-{name}.json").read_text())
        records.append(record)
        rows, targets = ([record["rows"][int(index)]], []) if index else (record["rows"], record["targets"])
        compared |= bool(rows)
        for row in rows:
            low, high = f"{min(row['ratios']):.2f}", f"{max(row['ratios']):.2f}"
            pairs = len(row["ratios"])
            spread = f" ({low}–{high}, {pairs} pairs)" if pairs > 1 else ""
            lines.append(
                f"| {row['what']} | {_median(row['ours'])} {row['unit']} | {row['baseline']}: "
                f"{_median(row['theirs'])} {row['unit']} | {row['ratio']:.2f}{spread} | {_target(row)} |"
            )
        lines += [f"| {target['what']} | {target['measured']:.3g} | | | {_target(target)} |" for target in targets]
    dates = ", ".join(sorted({record["date"] for record in records}))
    places = "; ".join(sorted({where(record) for record in records}))
    advice = ": compare the ratios, which were measured in turns, not the times" if compared else ""
    return (
        "\n".join(lines)
        + "\n\nThe numbers are medians. The brackets hold the lowest and the highest ratio, and the number of pairs. "
        f"Measured {dates} on {places}. The cores were shared with other programs{advice}.\n"
    )


def accuracies(record: dict[str, Any]) -> str:
    """Return the table of a record of time_to_accuracy.py: epochs and test accuracy of each loop at the end."""
    ends = record["details"]["at the end, on the whole test set"]
    names = {"ours": "raytrain", "student": "the student's loop"}
    lines = ["| | minutes | epochs | test accuracy |", "| :-- | --: | --: | --: |"]
    lines += [
        f"| {names[loop]} | {end['seconds'] / 60:.1f} | {end['epochs']:.2f} | {100 * end['test accuracy']:.1f} % |"
        for loop, end in ends.items()
    ]
    return "\n".join(lines) + f"\n\nMeasured {record['date']} on {where(record)}.\n"


def simulation(record: dict[str, Any]) -> str:
    """Return the tables of a record of simulated errors, what was aimed at, and how many draws there were."""
    parts: list[str] = []
    for table in record["details"]["tables"]:
        lines = [f"| {' | '.join(table['columns'])} |", f"| :-- |{' --: |' * (len(table['columns']) - 1)}"]
        parts.append("\n".join([*lines, *(f"| {' | '.join(row)} |" for row in table["rows"])]))
    lines = ["| what | simulated | target |", "| :-- | --: | :-- |"]
    lines += [f"| {target['what']} | {target['measured']:.3g} | {_target(target)} |" for target in record["targets"]]
    draws = f"{record['details']['draws']:,} draws of each, {record['date']}, raytrain {record['code']['raytrain']}."
    return "\n\n".join([*parts, "\n".join(lines), draws]) + "\n"


def measured(name: str) -> str:
    """Return the tables of a benchmark's record, its date and its machine; a sentence where there is no record yet."""
    path = RECORDS / f"bench-{name}.json"
    if not path.exists():
        return f"There is no record yet; `benchmarks/{name}.py` writes it.\n"
    record = json.loads(path.read_text())
    parts: list[str] = []
    for table in record["details"]["tables"]:
        lines = [f"| {' | '.join(table['columns'])} |", f"| :-- |{' --: |' * (len(table['columns']) - 1)}"]
        parts.append("\n".join([*lines, *(f"| {' | '.join(row)} |" for row in table["rows"])]))
    return "\n\n".join([*parts, f"Measured {record['date']} on {where(record)}."]) + "\n"


def abuse(record: dict[str, Any]) -> str:
    """Return the table of a record of abuse.py: what was given, and how often something went wrong."""
    names = {"options": "values of options and arguments", "damage": "damaged files", "experiments": "experiment files"}
    parts = {names[name]: part for name, part in record["details"].items()}
    lines = ["| what | counted | target |", "| :-- | --: | :-- |"]
    lines += [f"| {target['what']} | {target['measured']:,.0f} | {_target(target)} |" for target in record["targets"]]
    inputs = ", ".join(f"{part['inputs']:,} {name} of {len(part['kinds'])} kinds" for name, part in parts.items())
    minutes = sum(part["seconds"] for part in parts.values()) / 60
    return (
        "\n".join(lines)
        + f"\n\nThe inputs: {inputs}. {record['date']}, raytrain {record['code']['raytrain']}, {minutes:.0f} minutes.\n"
    )


def _median(values: list[float]) -> str:
    middle = statistics.median(values)
    return f"{middle:,.0f}" if middle >= 1000 else f"{middle:.3g}"


def _target(row: dict[str, Any]) -> str:
    return "" if row["met"] is None else f"{row['target']}{'' if row['met'] else ', missed'}"


def with_tables(text: str) -> str:
    """Return a Markdown text with the table of each record that it names written anew."""

    def table(block: re.Match[str]) -> str:
        record = json.loads((ROOT / block[2]).read_text())
        return f"{block[1]}\n{shown(record)}{block[3]}"

    def comparisons(block: re.Match[str]) -> str:
        return f"{block[1]}\n{benchmarks(block[2].split())}{block[3]}"

    def ends(block: re.Match[str]) -> str:
        record = json.loads((ROOT / block[2]).read_text())
        return f"{block[1]}\n{accuracies(record)}{block[3]}"

    def simulated(block: re.Match[str]) -> str:
        record = json.loads((RECORDS / f"bench-{block[2]}.json").read_text())
        return f"{block[1]}\n{simulation(record)}{block[3]}"

    def abused(block: re.Match[str]) -> str:
        record = json.loads((ROOT / block[2]).read_text())
        return f"{block[1]}\n{abuse(record)}{block[3]}"

    def tables(block: re.Match[str]) -> str:
        return f"{block[1]}\n{measured(block[2])}{block[3]}"

    text = _MEASURED.sub(tables, text)
    text = _ABUSE.sub(abused, _SIMULATION.sub(simulated, text))
    return _TIMED.sub(ends, _BENCHMARKS.sub(comparisons, _BLOCK.sub(table, text)))


def main() -> None:
    """Keep the runs that are named on the command line, and write the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("runs", nargs="*", metavar="RUN", help="a run folder whose record to write")
    parser.add_argument("--table", action="store_true", help="write the tables only")
    arguments = parser.parse_args()
    if bool(arguments.runs) == arguments.table:
        parser.error("name run folders, or give --table")
    for run in arguments.runs:
        print(f"written: {keep(run)}")
    for name in DOCUMENTS:
        document = ROOT / name
        document.write_text(with_tables(document.read_text()))
        print(f"written: {document}")


if __name__ == "__main__":
    main()
