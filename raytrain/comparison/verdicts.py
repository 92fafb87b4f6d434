"""verdicts.jsonl: what `raytrain judge` has said, a line for every judgement, beside the run of the base."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from raytrain.errors import RunFolderError
from raytrain.storage.folder import Folder
from raytrain.storage.json_lines import as_line, drop_torn_line, read_lines

FILE = "verdicts.jsonl"


@dataclass(frozen=True)
class Judgement:
    """What was said of one candidate against one base.

    Attributes:
        position: Position of the candidate among all that were ever judged here, from 1.
        base: Name of the run that it was compared with.
        candidate: Name of its run.
        level: Probability with which the candidate is kept although it is not better, at most.
        margin: Smallest gain that matters, a fraction.
        seeds: Seeds in the order in which they were taken up; a later judgement goes on behind them.
        trials: Ids of the trial of the base and of that of the candidate, by seed.
        differences: Test accuracy of the candidate minus that of the base, by seed, a fraction.
        verdict: "keep", "drop" or "more seeds".
        time: Time of the judgement, in UTC.
    """

    position: int
    base: str
    candidate: str
    level: float
    margin: float
    seeds: Sequence[int]
    trials: Sequence[Sequence[str]]
    differences: Sequence[float]
    verdict: str
    time: str = ""


def read_judgements(out: Folder) -> list[Judgement]:
    """Return all judgements in a folder of runs, in order; a candidate that was judged again has several.

    Raises:
        RunFolderError: The file is damaged, or of another version.
    """
    try:
        return [Judgement(**line) for line in read_lines(out, FILE)]
    except TypeError as error:
        raise RunFolderError(
            f"{out}/{FILE} was written by another version of raytrain ({error}); move it away to begin a new session"
        ) from error


def add_judgement(out: Folder, judgement: Judgement) -> None:
    """Append a judgement, with the time."""
    drop_torn_line(out, FILE)
    out.append(FILE, as_line({**asdict(judgement), "time": datetime.now(UTC).isoformat(timespec="seconds")}))
