"""Three searches on CIFAR-10, each without early stopping, with ASHA that stops, and with ASHA that promotes.

python benchmarks/searches.py --data data/cifar10     # about 50 minutes; the same command goes on with what is left

Each of the nine is a run of raytrain on Ray, from start to end, in a folder below runs/: a grid of learning rates and
schedules, the five ResNets, and 20 random samples. How many epochs each trained is counted, and the trial that it
chooses is looked up in the run without early stopping. The settings of ASHA were written down before any of these runs:
rungs at 1 and 3 of 9 epochs, for the five ResNets at 2 and 6.

The images are the first 1,500 training images of each class, brought to 16 px; a third of them is the validation split.
The results are in experiments/records/bench-searches.json.
"""

import sys
from pathlib import Path
from typing import Any

from comparison import Record, arguments
from image_parts import first_of_each_class, write_part

import raytrain
from raytrain.analysis.record import RunRecord, read_record
from raytrain.analysis.statistics.significance import ALPHA, mcnemar
from raytrain.cli.options import seconds_of
from raytrain.errors import RaytrainError
from raytrain.storage.folder import Folder

IMAGES_PER_CLASS = 1500
EPOCHS = 9
SPENT = 0.4
"""Share of the epochs that a search should take at most."""
RECIPE = {
    "image_size": 16,
    "val_size": 5000,
    "epochs": EPOCHS,
    "batch_size": 128,
    "augment": [{"crop": {"padding": 2}}, "flip"],
    "precision": "fp32",
    "final_train_accuracy": False,
}
RESNET9 = {"arch": "resnet9", "width": 4}
SEARCHES: dict[str, dict[str, Any]] = {
    "learning rates and schedules": {
        "recipe": RESNET9,
        "grid": {"lr": [0.01, 0.05, 0.2, 0.8], "schedule": ["constant", "cosine", "onecycle"]},
    },
    "five ResNets": {
        "recipe": {"width": 8, "lr": 0.05, "schedule": "onecycle"},
        "grid": {"arch": ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"]},
    },
    "random samples": {
        "recipe": {**RESNET9, "schedule": "onecycle"},
        "grid": {
            "lr": {"loguniform": [1e-3, 1]},
            "momentum": {"uniform": [0.5, 0.99]},
            "weight_decay": {"loguniform": [1e-5, 1e-2]},
        },
        "samples": 20,
    },
}
FIRST_RUNG = {"learning rates and schedules": 1, "five ResNets": 2, "random samples": 1}
MODES = {"none": "all to the end", "stop": "ASHA stops", "promote": "ASHA promotes"}
COLUMNS = ["search", "method", "trials", "epochs trained", "of all", "chosen", "val accuracy %", "lost, points"]


def experiment(search: str, mode: str, images: Path) -> raytrain.Experiment:
    """Return a search with a mode of `MODES`. Every mode has the same trials."""
    about = SEARCHES[search]
    asha = None if mode == "none" else {"mode": mode, "grace_period": FIRST_RUNG[search], "reduction_factor": 3}
    return raytrain.Experiment.model_validate(
        {
            **about,
            "name": f"search-{search.replace(' ', '-')}-{mode}",
            "recipe": {**RECIPE, **about["recipe"], "dataset": str(images)},
            "asha": asha,
        }
    )


def epochs_of(run: RunRecord) -> int:
    """Return the number of epochs that a run has trained."""
    return sum(len(rows) for rows in run.epochs.values())


def chosen(run: RunRecord) -> str:
    """Return the trial that a run chooses.

    Raises:
        RaytrainError: It chooses none.
    """
    if run.chosen_trial is None:
        raise RaytrainError(f"{run.folder}: no trial has finished")
    return run.chosen_trial.trial


def comparison_of(whole: RunRecord, best: str, trial: str) -> str:
    """Return what McNemar's test on the test images says of a trial beside the best by validation, at 5 %.

    Args:
        whole: The run in which both were trained to their end.
        best: The trial that this run chooses.
        trial: The trial that another run has chosen.
    """
    if trial == best:
        return "the same trial"
    first, second = (whole.predictions[one].correct for one in (best, trial))
    if mcnemar(first, second) >= ALPHA:
        return "another, not separated"
    return "another, worse" if second.sum() < first.sum() else "another, better"


def row(search: str, mode: str, run: RunRecord, whole: RunRecord) -> tuple[list[str], dict[str, Any]]:
    """Return a row of the table, and what it says as JSON values.

    Args:
        search: Name of the search.
        mode: One of `MODES`.
        run: The search with that mode.
        whole: The same search with every trial trained to its end.
    """
    best, trial = chosen(whole), chosen(run)
    accuracies = {result.trial: result.val_accuracy or 0.0 for result in whole.results}
    spent, everything = epochs_of(run), epochs_of(whole)
    lost = 100 * (accuracies[best] - accuracies[trial])
    said = comparison_of(whole, best, trial)
    values = {
        "search": search,
        "mode": mode,
        "trials": len(run.results),
        "epochs": spent,
        "share of the epochs": spent / everything,
        "chosen": trial,
        "chosen without early stopping": best,
        "lost, points of validation accuracy": lost,
        "beside the one without early stopping": said,
    }
    cells = [
        search,
        MODES[mode],
        str(len(run.results)),
        str(spent),
        f"{100 * spent / everything:.0f} %",
        said,
        f"{100 * accuracies[trial]:.2f}",
        f"{lost:.2f}",
    ]
    return cells, values


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with CIFAR-10 as Parquet files")
    parser.add_argument("--out", type=Path, default=Path("runs"), help="folder of the runs")
    parser.add_argument("--time-limit", type=seconds_of, help="such as 10m, for each run: save and end there")
    options = parser.parse_args()
    record = Record("searches")
    cells: list[list[str]] = []
    rows: list[dict[str, Any]] = []
    try:
        images = (options.out / "searches-images").absolute()
        write_part(options.data, images, train=first_of_each_class(IMAGES_PER_CLASS))
        for search in SEARCHES:
            found: dict[str, RunRecord] = {}
            for mode in MODES:
                wanted = experiment(search, mode, images)
                done = raytrain.run(wanted, out=options.out, time_limit_s=options.time_limit)
                if done.interrupted:
                    print("interrupted; the same command goes on with what is left", file=sys.stderr)
                    return 130
                found[mode] = read_record(Folder.at(options.out) / wanted.name)
                shown, values = row(search, mode, found[mode], found["none"])
                cells.append(shown)
                rows.append(values)
                print(" | ".join(shown), flush=True)
    except RaytrainError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    for mode in ("stop", "promote"):
        mine = [one for one in rows if one["mode"] == mode]
        most = max(one["share of the epochs"] for one in mine)
        record.target(f"largest share of the epochs, {MODES[mode]}", most, f"≤ {SPENT}", met=most <= SPENT)
        worse = sum(one["beside the one without early stopping"] == "another, worse" for one in mine)
        record.target(f"winners that are separably worse, {MODES[mode]}", worse, "0 of 3", met=not worse)
    record.details |= {
        "recipe": RECIPE,
        "searches": SEARCHES,
        "first rung": FIRST_RUNG,
        "training_images_per_class": IMAGES_PER_CLASS,
        "runs": rows,
        "tables": [{"columns": COLUMNS, "rows": cells}],
    }
    record.write(options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
