"""Keep what a run came to: write experiments/records/NAME.json, and the table that README.md shows of it.

python benchmarks/record.py runs/quick        # keep a run
python benchmarks/record.py                   # only write README.md's tables again, from the records
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

from raytrain.report.table import markdown
from raytrain.results import TrialResult, read_results
from raytrain.storage import Folder

ROOT = Path(__file__).parent.parent
RECORDS = ROOT / "experiments" / "records"
_BLOCK = re.compile(r"(<!-- record: (\S+) -->\n).*?(<!-- end of record -->)", re.DOTALL)


def keep(run: str) -> Path:
    """Write the record of a run and return its path."""
    folder = Folder.at(run)
    manifest = json.loads(folder.read("manifest.json"))
    for session in manifest["sessions"]:
        del session["code"]["git_diff"], session["machine"]["host"]
    record = {**manifest, "results": [vars(result) for result in read_results(folder)]}
    path = RECORDS / f"{Path(run).name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1) + "\n")
    return path


def shown(record: dict[str, Any]) -> str:
    """Return a record as README.md shows it: the ranked table, and where its numbers come from."""
    results = [TrialResult(**values) for values in record["results"]]
    session = record["sessions"][0]
    code, machine = session["code"], session["machine"]
    gpus = ", ".join(machine["gpus"]) or "no GPU"
    seeds = len(record["seeds"])
    return (
        f"{markdown(results)}\n"
        f"`{' '.join(session['command'])}`, {session['started'][:10]}, {seeds} seed{'s' if seeds > 1 else ''}, on "
        f"{machine['cores']} cores of {machine['processor']}, {gpus}; raytrain {code['raytrain']}, "
        f"torch {code['packages']['torch']}, ray {code['packages']['ray']}, Python {code['python']}.\n"
    )


def with_tables(text: str) -> str:
    """Return a Markdown text with the table of each record that it names written anew."""

    def table(block: re.Match[str]) -> str:
        record = json.loads((ROOT / block[2]).read_text())
        return f"{block[1]}\n{shown(record)}\n{block[3]}"

    return _BLOCK.sub(table, text)


if __name__ == "__main__":
    for run in sys.argv[1:]:
        print(f"written: {keep(run)}")
    readme = ROOT / "README.md"
    readme.write_text(with_tables(readme.read_text()))
