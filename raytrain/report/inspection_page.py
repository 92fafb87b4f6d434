"""The page that `raytrain data verify` prints: what a data set holds."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from raytrain.data.images import part_words
from raytrain.data.inspection.inspection import Alike, Inspection
from raytrain.errors import counted
from raytrain.report.text.visible import in_one_line

CLASSES = 30
"""Most classes that have a row each."""
EXAMPLES = 5
"""Most groups of images, and most unreadable images, that are shown."""


def page(inspection: Inspection, console: Console) -> str:
    """Return the text of the page, as wide as the console is; lines end without spaces."""
    with console.capture() as captured:
        console.print(Group(*_sections(_with_texts_in_one_line(inspection))), highlight=False)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def _with_texts_in_one_line(values: Any) -> Any:
    """Return values in which the texts, which may be names of somebody else's files, hold nothing that is not seen."""
    if isinstance(values, Mapping):
        return {_with_texts_in_one_line(name): _with_texts_in_one_line(value) for name, value in values.items()}
    if isinstance(values, list | tuple):
        return [_with_texts_in_one_line(value) for value in values]
    return in_one_line(values) if isinstance(values, str) else values


def _sections(inspection: Inspection) -> Iterator[RenderableType]:
    size = inspection["image_size"]
    yield Text(inspection["dataset"], style="bold")
    yield Text("")
    yield _class_table(inspection["classes"])
    yield Text("")
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="bold", no_wrap=True)
    facts.add_column(overflow="fold")
    for name, lines in _facts(inspection):
        facts.add_row(name, Text("\n".join(lines)))
    yield facts
    yield Text("")
    yield Text(f"Fingerprint at {size} × {size} pixels: {inspection['fingerprint']}")


def _class_table(classes: Mapping[str, Mapping[str, int]]) -> Table:
    """Return the number of images by class and part; of many classes, those with the fewest training images."""
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    table.add_column("class", overflow="fold")
    for part in classes:
        table.add_column(part_words(part), justify="right")
    train = classes["train"]
    shown = list(train) if len(train) <= CLASSES else sorted(train, key=lambda name: train[name])[:CLASSES]
    for name in shown:
        table.add_row(Text(name), *(f"{of_part[name]:,}" for of_part in classes.values()))
    if rest := train.keys() - {*shown}:
        table.add_row(
            f"{len(rest):,} more", *(f"{sum(of_part[name] for name in rest):,}" for of_part in classes.values())
        )
    table.add_row(
        counted(len(train), "class", "classes"),
        *(f"{sum(of_part.values()):,}" for of_part in classes.values()),
        style="bold",
    )
    return table


def _facts(inspection: Inspection) -> Iterator[tuple[str, list[str]]]:
    """Yield the name of a fact and what there is to say, in lines."""
    files = inspection["files"]
    if inspection["labels"] or files["formats"]:  # neither where pixels were given
        yield "Files", [f"{_counted(files['formats'])}; mode {_counted(files['modes'])}", _sizes(files["sizes"])]
        applied = {
            "turned as their EXIF data says": files["turned"],
            f"transparent, now {files['background']}": files["transparent"],
        }
        yield "Changed", [f"{count:,} {what}" for what, count in applied.items() if count] or ["none"]
        if inspection["labels"]:  # of the files that code of the user's own has named, none is left out
            yield "Left out", [_counted(inspection["left_out"], form="{count:,} {name}") or "none"]
        yield "Unreadable", _unreadable(inspection["unreadable"])
    if inspection["labels"]:
        yield "Classes", [LABELS[inspection["labels"]]]
    yield "Duplicates", _alike(inspection["duplicates"])
    near = inspection["near_duplicates"]
    yield "Look alike", ["not looked for; --near does"] if near is None else _alike(near)
    if inspection["remarks"]:
        yield "Decided", [f"{remark}." for remark in inspection["remarks"]]
    warnings = [*inspection["warnings"], *([inspection["refusal"]] if inspection["refusal"] else [])]
    yield "Warnings", [f"{warning}." for warning in warnings] or ["none"]


LABELS = {
    "folders": "named by the folders",
    "metadata": "named by the metadata of the files, labels are their numbers",
    "words": "named by the labels, which are words",
    "integers": "named by the labels, which are integers, in ascending order",
}


def _counted(counts: Mapping[str, int], *, form: str = "{name} {count:,}") -> str:
    """Return names with their counts, the most frequent first."""
    ordered = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
    return ", ".join(form.format(name=name, count=count) for name, count in ordered)


def _sizes(sizes: Mapping[str, int]) -> str:
    if not sizes:
        return "no sizes"
    by_area = sorted(sizes, key=lambda size: _area(size))
    if len(by_area) == 1:
        return f"all {_pixels(by_area[0])} pixels"
    most = max(sizes, key=lambda size: sizes[size])
    between = f"from {_pixels(by_area[0])} to {_pixels(by_area[-1])} pixels"
    return f"{len(sizes):,} sizes, {between}; most often {_pixels(most)} ({sizes[most]:,})"


def _area(size: str) -> int:
    width, _, height = size.partition("x")
    return int(width) * int(height)


def _pixels(size: str) -> str:
    return size.replace("x", " × ")


def _unreadable(unreadable: list[dict[str, str]]) -> list[str]:
    if not unreadable:
        return ["none"]
    shown = [f"{image['name']} {image['fault']}" for image in unreadable[:EXAMPLES]]
    return [f"{len(unreadable):,}, which are not counted above", *shown, *_rest(len(unreadable))]


def _alike(alike: Alike) -> list[str]:
    """Return how many images are in groups, and some of the groups."""
    counts = [f"{count:,} within {part_words(part)}" for part, count in alike["within"].items() if count]
    for parts, count in alike["across"].items():
        one, _, other = parts.partition(", ")
        counts.append(f"{count:,} in {part_words(one)} and {part_words(other)}")
    if not counts:
        return ["none"]
    if alike["other_class"]:
        counts.append(f"{alike['other_class']:,} under different classes")
    groups = [" = ".join(f"{image['name']}" for image in group[:4]) for group in alike["groups"][:EXAMPLES]]
    return ["; ".join(counts), *groups, *(["..."] if len(alike["groups"]) > EXAMPLES else [])]


def _rest(count: int) -> list[str]:
    return [f"and {count - EXAMPLES:,} more"] if count > EXAMPLES else []
