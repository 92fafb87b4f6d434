"""verdicts.jsonl: what `raytrain judge` has said, a line for every judgement, beside the run of the base."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from raytrain.errors import RunFolderError
from raytrain.storage.folder import Folder
from raytrain.storage.json_lines import as_line, mend_last_line, read_lines

FILE = "verdicts.jsonl"
_ADVICE = "Put a copy of the file there, or move it away to begin a new session"
Difference = Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False)]


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

    position: Annotated[int, Field(ge=1)]
    base: str
    candidate: str
    level: float
    margin: float
    seeds: Sequence[int]
    trials: Sequence[Sequence[str]]
    differences: Sequence[Difference]
    verdict: str
    time: str = ""


_CHECKED: TypeAdapter[Judgement] = TypeAdapter(Judgement)


def read_judgements(out: Folder) -> list[Judgement]:
    """Return all judgements in a folder of runs, in order; a candidate that was judged again has several.

    Raises:
        RunFolderError: The file is damaged, or of another version.
    """
    try:
        return [Judgement(**line) for line in read_lines(out, FILE, check=_check, advice=_ADVICE)]
    except TypeError as error:
        raise RunFolderError(
            f"{out}/{FILE} was written by another version of raytrain ({error}); move it away to begin a new session"
        ) from error


def _check(line: object) -> None:
    """Refuse, by a ValueError, what has the fields of a judgement and is none."""
    assert isinstance(line, dict)
    Judgement(**line)  # its TypeError says that the fields are of another version
    try:
        one = _CHECKED.validate_json(json.dumps(line), strict=True)  # as JSON: a dict is no instance otherwise
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    if not len(one.seeds) == len(one.trials) == len(one.differences):
        raise ValueError("seeds, trials and differences are not equally many")


def add_judgement(out: Folder, judgement: Judgement) -> None:
    """Append a judgement, with the time, to microseconds: an equal line would be taken for a copy by mistake."""
    mend_last_line(out, FILE)
    out.append(FILE, as_line({**asdict(judgement), "time": datetime.now(UTC).isoformat(timespec="microseconds")}))
