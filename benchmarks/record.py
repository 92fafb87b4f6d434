"""Keep what a run came to: write experiments/records/NAME.json, and the tables that README.md shows of records.

python benchmarks/record.py runs/quick        # keep a run
python benchmarks/record.py                   # only write README.md's tables again, from the records
python benchmarks/record.py --table           # print that of the benchmarks, too

Records of benchmarks are written by the benchmarks themselves.
"""

import base64
import json
import re
import statistics
import sys
from pathlib import Path
from typing import Any

from raytrain.analysis.ranking import rank
from raytrain.analysis.record import read_record
from raytrain.report.table import markdown
from raytrain.runs.results import TrialResult
from raytrain.storage.folder import Folder
from raytrain.training.predictions import Predictions

ROOT = Path(__file__).parent.parent
RECORDS = ROOT / "experiments" / "records"
_BLOCK = re.compile(r"(<!-- record: (\S+) -->\n).*?(<!-- end of record -->)", re.DOTALL)
_BENCHMARKS = re.compile(r"(<!-- benchmarks: (.+?) -->\n).*?(<!-- end of benchmarks -->)", re.DOTALL)


def keep(run: str) -> Path:
    """Write the record of a run and return its path."""
    folder = Folder.at(run)
    manifest = json.loads(folder.read("manifest.json"))
    for session in manifest["sessions"]:
        del session["code"]["git_diff"], session["machine"]["host"]
    run_record = read_record(folder)
    results = run_record.state.results()
    predictions = {trial: base64.b64encode(seen.to_bytes()).decode() for trial, seen in run_record.predictions.items()}
    record = {**manifest, "results": [vars(result) for result in results], "predictions": predictions}
    path = RECORDS / f"{Path(run).name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1) + "\n")
    return path


def shown(record: dict[str, Any]) -> str:
    """Return a record as README.md shows it: the ranked table, and where its numbers come from."""
    results = [TrialResult(**values) for values in record["results"]]
    predictions = {
        trial: Predictions.from_bytes(base64.b64decode(text)) for trial, text in record.get("predictions", {}).items()
    }
    session = record["sessions"][0]
    seeds = len(record["seeds"])
    return (
        f"{markdown(rank(results, predictions))}\n"
        f"`{' '.join(session['command'])}`, {session['started'][:10]}, {seeds} seed{'s' if seeds > 1 else ''}, on "
        f"{where(session)}.\n"
    )


def where(about: dict[str, Any]) -> str:
    """Return the machine and the versions of a record."""
    code, machine = about["code"], about["machine"]
    gpus = ", ".join(machine["gpus"]) or "no GPU"
    return (
        f"{machine['cores']} cores of {machine['processor']}, {gpus}; raytrain {code['raytrain']}, "
        f"torch {code['packages']['torch']}, ray {code['packages']['ray']}, Python {code['python']}"
    )


def benchmarks(names: list[str]) -> str:
    """Return the records of benchmarks as README.md shows them: a row for each comparison and target."""
    records = [json.loads((RECORDS / f"bench-{name}.json").read_text()) for name in names]
    lines = ["| | ours | compared with | times as good | target |", "| :-- | --: | :-- | --: | :-- |"]
    for record in records:
        for row in record["rows"]:
            low, high = f"{min(row['ratios']):.2f}", f"{max(row['ratios']):.2f}"
            pairs = len(row["ratios"])
            spread = f" ({low}–{high}, {pairs} pairs)" if pairs > 1 else ""
            lines.append(
                f"| {row['what']} | {_median(row['ours'])} {row['unit']} | {row['baseline']}: "
                f"{_median(row['theirs'])} {row['unit']} | {row['ratio']:.2f}{spread} | {_target(row)} |"
            )
        lines += [
            f"| {target['what']} | {target['measured']:.3g} | | | {_target(target)} |" for target in record["targets"]
        ]
    dates = ", ".join(sorted({record["date"] for record in records}))
    places = "; ".join(sorted({where(record) for record in records}))
    return (
        "\n".join(lines)
        + "\n\nMedians; in brackets the lowest and the highest ratio of the pairs that were measured in "
        f"turn. {dates}, on {places}. The machine is shared.\n"
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
        return f"{block[1]}\n{shown(record)}\n{block[3]}"

    def comparisons(block: re.Match[str]) -> str:
        return f"{block[1]}\n{benchmarks(block[2].split())}\n{block[3]}"

    return _BENCHMARKS.sub(comparisons, _BLOCK.sub(table, text))


if __name__ == "__main__":
    for run in sys.argv[1:]:
        if run == "--table":
            named = _BENCHMARKS.search((ROOT / "README.md").read_text())
            assert named, "README.md has a table of benchmarks"
            print(benchmarks(named[2].split()))
        else:
            print(f"written: {keep(run)}")
    readme = ROOT / "README.md"
    readme.write_text(with_tables(readme.read_text()))
