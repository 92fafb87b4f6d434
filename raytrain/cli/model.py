"""`raytrain export`, `evaluate` and `predict`: a trained model out of its run, and at work."""

# The imports inside functions load PyTorch: at the top they would make `raytrain --help` take seconds more.

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from raytrain.cli.completion import run_or_trial_names
from raytrain.cli.data import Columns, FollowLinks, SkipBad, columns_text
from raytrain.cli.options import AllowCode, Json, Out
from raytrain.cli.text_option import text_option
from raytrain.errors import DataError, ExperimentError, counted
from raytrain.report.document import document
from raytrain.report.text.columns import as_text, terminal_width
from raytrain.report.text.visible import in_one_line, quoted, visible

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    from raytrain.inference.model import Model

ModelFile = Annotated[
    Path, typer.Argument(metavar="MODEL", help="Model file of `raytrain export`: .pth or .safetensors.")
]


class Format(StrEnum):
    """What is written of a network."""

    weights = "weights"
    torch_export = "torch_export"
    onnx = "onnx"


class Which(StrEnum):
    """Which weights of a trial are exported."""

    best = "best"
    last = "last"


def add_commands(app: typer.Typer) -> None:
    """Add `export`, `evaluate` and `predict` to the application."""
    for command in (export, evaluate, predict):
        app.command()(command)


def export(
    trial: Annotated[
        str,
        typer.Argument(
            metavar="RUN[/TRIAL]",
            autocompletion=run_or_trial_names,
            show_default=False,
            help="Name, folder or URI of a run, to export its chosen trial; or RUN/TRIAL to export another one.",
        ),
    ],
    out: Out = "runs",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="File to write: .pth, .safetensors, .pt2 or .onnx.", show_default="RUN-TRIAL.pth"
        ),
    ] = None,
    format_: Annotated[
        Format | None,
        typer.Option(
            "--format",
            show_default="what --output ends in",
            help="The weights, or a program that needs no raytrain: torch_export (.pt2) or onnx (.onnx).",
        ),
    ] = None,
    which: Annotated[Which, typer.Option(help="Weights of the best epoch (by validation) or the last.")] = Which.best,
    force: Annotated[bool, typer.Option("--force", help="Replace existing files.")] = False,
    allow_code: AllowCode = False,
    json: Json = False,
) -> None:
    """Export the weights of a trial, or a program that computes its logits, and a JSON file that describes them.

    A program runs where neither raytrain nor the code of the network is. It is compared with the network on 16 images
    before it is written; their logits may differ by 1e-4.
    """
    from raytrain.inference.export import allow_network, export_trial, find_trial
    from raytrain.inference.model_file import (
        FORMATS,
        WEIGHTS,
        description_of,
        format_of,
        write_model,
    )

    kind = format_of(output, format_.value if format_ else None)
    record, result, why = find_trial(trial, out=out)
    typer.echo(visible(f"{result.trial}: {why}"), err=True)
    description, weights = export_trial(record, result, which=which.value)
    path = output or Path(f"{record.name}-{result.digest}{FORMATS[kind][0]}")
    if kind == WEIGHTS:
        write_model(path, description, weights, force=force)
    else:
        from torch import device

        from raytrain.inference.model import build
        from raytrain.inference.program import write_program
        from raytrain.user_code.isolation import isolated

        allow_network(record, result, allowed=allow_code)
        with isolated():
            write_program(path, build(description, weights, device=device("cpu")), kind=kind, force=force)
    if json:
        accuracies = {"val_accuracy": description.val_accuracy, "test_accuracy": description.test_accuracy}
        written = {"model": str(path), "description": str(description_of(path))}
        typer.echo(document({"trial": result.trial, **written, "epoch": description.epoch, **accuracies}), nl=False)
    else:
        typer.echo(in_one_line(str(path)))
    known = "" if description.test_accuracy is None else f", {100 * description.test_accuracy:.2f} % on the test set"
    what = "weights" if kind == WEIGHTS else "program with the weights"
    described = in_one_line(str(description_of(path)))
    typer.echo(f"{what} of epoch {description.epoch}{known}; description in {described}", err=True)


def evaluate(
    model: ModelFile,
    dataset: Annotated[
        str | None, text_option(help="Data set to use instead of the model's own.", show_default=False)
    ] = None,
    columns: Columns = "",
    skip_bad: SkipBad = False,
    follow_links: FollowLinks = False,
    allow_code: AllowCode = False,
    json: Json = False,
) -> None:
    """Measure a model on the test images of its data set, or of another data set with the same classes."""
    from raytrain.cli.output import log_to_stderr
    from raytrain.cli.progress import reading_shown
    from raytrain.data import DATASETS, PixelsError, advised_where_gone
    from raytrain.data.data_key import DataKey
    from raytrain.data.layouts.background import WHITE
    from raytrain.experiment.user_code import read_user_code
    from raytrain.inference.measured_images import are_of_the_run, refuse_trained_on, remark_on
    from raytrain.inference.model import evaluate_on
    from raytrain.metrics.predictions import class_accuracies, metrics_of
    from raytrain.report.metric_columns import METRIC_HEADINGS, metric_sentence
    from raytrain.report.text.quantities import per_cent
    from raytrain.training.recipe import Recipe
    from raytrain.user_code.isolation import isolated

    log_to_stderr()
    opened = _open(model, allow_code=allow_code)
    description = opened.description
    given = read_user_code("dataset", dataset, folder=Path(), where="--dataset") if dataset else None
    recipe = Recipe(**description.recipe)
    name = given or recipe.dataset
    if name == recipe.dataset:
        key = recipe.data_key
    else:  # it has columns of its own; those that are shipped give pixels, for which a background is refused
        background = WHITE if name in DATASETS else recipe.background
        key = DataKey(name, recipe.image_size, 0, recipe.test_size, background=background)
    key = key._replace(
        columns=columns_text(columns) or key.columns,
        skip_bad=skip_bad or key.skip_bad,
        follow_links=follow_links or key.follow_links,
    )
    options = [f"--columns {quoted(key.columns)}"] * bool(key.columns)
    options += ["--skip-bad"] * key.skip_bad + ["--follow-links"] * key.follow_links
    where = " ".join(["--dataset PATH", *options])
    advice = "" if given else f"If the data set of the model lies elsewhere now, say where: {where}"
    with reading_shown(), advised_where_gone(name, advice):
        try:
            images = key.load()
        except PixelsError:  # only what a function returns says whether it gives pixels or files
            if name == recipe.dataset:
                raise
            images = key._replace(background=WHITE).load()
    refuse_trained_on(description, images, name=name)
    with isolated():
        measured, predictions = evaluate_on(opened, images, name=name)
    by_class = class_accuracies(predictions, classes=len(description.classes)).tolist()
    metrics = {**vars(metrics_of(predictions)), "nll": measured.loss}
    if json:
        values: dict[str, Any] = {"dataset": name, "images": len(images.test)}
        values |= {"same_images": are_of_the_run(description, images), "precision": description.precision}
        values |= {"test_loss": measured.loss, "test_accuracy": measured.accuracy}
        values |= {name: metrics[name] for name in METRIC_HEADINGS}
        known = {label: share for label, share in zip(description.classes, by_class, strict=True) if share == share}
        typer.echo(document({**values, "classes": known}), nl=False)
    else:
        typer.echo(
            f"test accuracy {per_cent(measured.accuracy)} %, loss {measured.loss:.4f} on "
            f"{counted(len(images.test), 'image')} of {in_one_line(name)}, in {in_one_line(description.precision)}"
        )
        typer.echo(metric_sentence(metrics))
        shares = [per_cent(share) if share == share else "–" for share in by_class]
        typer.echo(
            as_text({"class": description.classes, "recall %": shares}, left={"class"}, width=terminal_width()),
            nl=False,
        )
    if remark := remark_on(description, images, name=name):
        typer.echo(f"raytrain: {visible(remark)}", err=True)
    before = description.test_accuracy
    if before is not None and are_of_the_run(description, images) and before != measured.accuracy:
        typer.echo(
            f"raytrain: the run measured {per_cent(before)} %; another device or number of threads rounds differently",
            err=True,
        )


def predict(
    model: ModelFile,
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Image files, or folders of images.")],
    top: Annotated[int, typer.Option(min=1, help="Number of classes to show for each image.")] = 3,
    follow_links: FollowLinks = False,
    allow_code: AllowCode = False,
    json: Json = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV: a row for each image.")] = False,
) -> None:
    """Predict the most probable classes of images; one that cannot be read is a row without classes."""
    import numpy as np

    if csv and json:
        raise ExperimentError("--csv and --json were given; give one of them")
    from raytrain.inference.image_paths import image_paths
    from raytrain.inference.model import probabilities_in_blocks, read_image
    from raytrain.report.records import as_csv
    from raytrain.user_code.isolation import isolated

    opened = _open(model, allow_code=allow_code)
    classes, size, background = opened.description.classes, opened.image_size, opened.background
    read: list[Path] = []
    found = image_paths(images, follow_links=follow_links)
    failures: dict[Path, str] = {}

    def readable() -> "Iterator[NDArray[np.uint8]]":
        for path in found.files:
            try:
                image = read_image(path, image_size=size, background=background)
            except DataError as error:  # the other images are named all the same
                failures[path] = str(error)
                continue
            read.append(path)
            yield image

    best: list[list[tuple[str, float]]] = []
    with isolated():
        for shares in probabilities_in_blocks(opened, readable()):
            order = np.argsort(-shares, axis=1, kind="stable")[:, :top]
            best += [
                [(classes[label], float(row[label])) for label in few] for row, few in zip(shares, order, strict=True)
            ]
    predicted = dict(zip(read, best, strict=True))
    named = [(path, predicted.get(path, []), failures.get(path)) for path in found.files]
    named += [(path, [], reason) for path, reason in found.refused.items()]
    ranks = range(min(top, len(classes)))
    if json:
        said = [[{"class": label, "probability": share} for label, share in one] for _, one, _ in named]
        rows = [
            {"image": str(path), "classes": one, "error": error}
            for (path, _, error), one in zip(named, said, strict=True)
        ]
        typer.echo(document({"images": rows}), nl=False)
    elif csv:
        typer.echo(as_csv([_csv_row(path, one, error, ranks) for path, one, error in named]), nl=False)
    elif read:
        cells = [[f"{label} {100 * share:.1f} %" for label, share in one] for _, one, _ in named]
        columns = {f"{rank + 1}": [(row[rank : rank + 1] or ["–"])[0] for row in cells] for rank in ranks}
        typer.echo(
            as_text(
                {"image": [str(path) for path, *_ in named], **columns},
                left={"image", *columns},
                width=terminal_width(),
            ),
            nl=False,
        )
    for line in (*found.left_out, *failures.values(), *found.refusals):
        typer.echo(f"raytrain: {visible(line)}", err=True)
    if failures or found.refused:
        raise typer.Exit(DataError.exit_code)


def _csv_row(path: Path, named: list[tuple[str, float]], error: str | None, ranks: range) -> dict[str, Any]:
    row: dict[str, Any] = {"image": str(path)}
    for rank in ranks:
        label, share = named[rank] if named else (None, None)
        row |= {f"class_{rank + 1}": label, f"probability_{rank + 1}": share}
    return row | {"error": error}


def _open(path: Path, *, allow_code: bool) -> "Model":
    from raytrain.inference.model import load_model
    from raytrain.user_code.isolation import isolated

    with isolated():  # a network of the user's may print while it is made
        return load_model(path, allow_code=allow_code)
