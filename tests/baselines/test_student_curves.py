"""What the shipped experiments say of the student's curves is what the curves say."""

import csv
import json
import re
from pathlib import Path
from statistics import fmean

import pytest
from scipy import stats
from torch import nn

from raytrain.baselines.baselines import open_baseline
from raytrain.data.batches import steps_per_epoch
from raytrain.models.architectures import resnet18

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
NETWORKS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")


@pytest.fixture(scope="module")
def accuracies() -> dict[str, list[float]]:
    """Return the test accuracy of each network after each epoch."""
    curves = {curve.name: curve for curve in open_baseline("student").curves}
    return {name: [value for value in curves[name].test_accuracy if value is not None] for name in NETWORKS}


@pytest.mark.parametrize("epoch", [10, 50])
def test_the_agreement_of_an_early_order_with_the_last_is_as_compare_yaml_says(
    epoch: int, accuracies: dict[str, list[float]]
) -> None:
    ends = [[of(curve) for curve in accuracies.values()] for of in (lambda c: c[-1], lambda c: fmean(c[-20:]), max)]
    early = [curve[epoch - 1] for curve in accuracies.values()]
    taus = [round(float(stats.kendalltau(early, end).statistic), 1) for end in ends]
    (row,) = re.findall(rf"epoch {epoch} +(\S+) +(\S+) +(\S+)", (EXPERIMENTS / "compare.yaml").read_text())
    assert [float(value) for value in row] == taus


def test_the_table_of_the_study_is_what_the_logs_and_the_claims_say() -> None:
    page = (EXPERIMENTS.parent / "docs/study.md").read_text()
    shown = {
        cells[0]: cells[1:] for row in re.findall(r"^\| ([rt]\w+\d .*) \|$", page, re.M) if (cells := row.split(" | "))
    }
    read = list(csv.DictReader((EXPERIMENTS / "student/curves.csv").read_text().splitlines()))
    expected: dict[str, list[str]] = {}
    for claim in csv.DictReader((EXPERIMENTS / "student/claims.csv").read_text().splitlines()):
        rows = [row for row in read if row["experiment"] == claim["experiment"]]
        curve = [100 * float(row["test_accuracy"]) for row in rows]
        hours = float(rows[-1]["elapsed_s"]) * len(rows) / (len(rows) - 1) / 3600  # the first epoch took the mean
        claimed = [f"{100 * float(claim[key]):.2f}" if claim[key] else "–" for key in ("test_accuracy", "elsewhere")]
        expected[claim["experiment"]] = [
            *(f"{curve[-1]:.2f}", f"{max(curve):.2f}", str(curve.index(max(curve)) + 1), f"{fmean(curve[-20:]):.2f}"),
            *(*claimed, f"{hours:.1f}", claim["hours"] or "–"),
        ]
    assert shown == expected


def test_the_times_to_an_accuracy_are_those_of_the_records_and_of_the_log() -> None:
    page = (EXPERIMENTS.parent / "docs/benchmarks.md").read_text()
    tracked, five, timed = (
        json.loads((EXPERIMENTS / f"records/{name}.json").read_text())
        for name in ("fast-tracked", "fast", "bench-epoch")
    )
    (result,) = tracked["results"]
    (epochs,) = tracked["epochs"].values()
    (seed_0,) = (five["epochs"][one["trial"]] for one in five["results"] if one["recipe"]["seed"] == 0)
    assert [row["train_loss"] for row in epochs] == [row["train_loss"] for row in seed_0]
    first = next(index for index, row in enumerate(epochs, start=1) if row["test_accuracy"] >= 0.9)
    assert result["test_accuracy"] < 0.94 <= result["test_tta_accuracy"]
    minutes = [sum(row["seconds"] for row in epochs[:count]) / 60 for count in (first, len(epochs))]
    plain, views = (f"{100 * result[name]:.2f} %" for name in ("test_accuracy", "test_tta_accuracy"))
    ends = f"not reached; {views} with TTA after {len(epochs)} epochs, {minutes[1]:.1f} minutes"
    assert f"| {first} epochs, {minutes[0]:.1f} minutes | {ends} |" in page
    assert f"It ends at {plain}." in page
    assert f"ten\nepochs took {minutes[1]:.1f} minutes" in page

    epoch = timed["details"]["resnet18"]["seconds of an epoch of 50,000 images"]["the student's loop"]
    assert f"the {epoch:,.0f} s,\nabout {epoch / 60:.0f} minutes" in page
    assert f"the same {epoch / 60:.1f} minutes" in page
    assert f"200 epochs would take {200 * epoch / 3600:.0f} hours" in " ".join(page.split())
    (curve,) = (one.test_accuracy for one in open_baseline("student").curves if one.name == "train3")
    needed = [next(at for at, one in enumerate(curve, start=1) if one and one >= goal) for goal in (0.9, 0.94)]
    assert f"| {' | '.join(f'{count} epochs' for count in needed)} |" in page
    assert f"| {' | '.join(f'{count * epoch / 3600:.1f} hours' for count in needed)} |" in page


def test_the_times_of_standard_yaml_to_an_accuracy_are_those_of_its_record() -> None:
    (epochs,) = json.loads((EXPERIMENTS / "records/standard.json").read_text())["epochs"].values()
    reached = [
        next(at for at, row in enumerate(epochs, start=1) if row["test_accuracy"] >= goal) for goal in (0.9, 0.94)
    ]
    cells = [f"{at} epochs, {sum(row['seconds'] for row in epochs[:at]) / 60:.1f} minutes" for at in reached]
    page = (EXPERIMENTS.parent / "docs/benchmarks.md").read_text()
    assert f"| `standard.yaml`, ResNet-18, seed 0 | {' | '.join(cells)} |" in page


def test_the_first_epochs_of_the_student_are_within_those_of_two_seeds_as_the_study_says() -> None:
    record = json.loads((EXPERIMENTS / "records/student-start.json").read_text())
    by_seed = {one["recipe"]["seed"]: record["epochs"][one["trial"]] for one in record["results"]}
    (his,) = (one for one in open_baseline("student").curves if one.name == "resnet18")
    study = (EXPERIMENTS.parent / "docs/study.md").read_text()
    for at, (his_loss, his_accuracy) in enumerate(zip(his.train_loss[:3], his.test_accuracy[:3], strict=True)):
        assert his_loss is not None
        assert his_accuracy is not None
        losses, accuracies = ([by_seed[seed][at][name] for seed in (0, 1)] for name in ("train_loss", "test_accuracy"))
        shown = [f"{loss:.3f}" for loss in (his_loss, *losses)]
        shown += [f"{100 * accuracy:.2f}" for accuracy in (his_accuracy, *accuracies)]
        assert f"| {at + 1} | {' | '.join(shown)} |" in study
        assert min(accuracies) < his_accuracy < max(accuracies)
        assert (min(losses) < his_loss < max(losses)) == (at > 0)


def test_the_student_experiments_give_the_hours_of_the_logs_and_the_steps_and_deviation_of_raytrain() -> None:
    study = (EXPERIMENTS.parent / "docs/study.md").read_text()
    ratios: list[float] = []
    for layer in (m for m in resnet18(width=32).modules() if isinstance(m, nn.Conv2d)):
        if layer.kernel_size == (3, 3) and layer.in_channels == layer.out_channels:
            default = nn.Conv2d(layer.in_channels, layer.out_channels, 3).weight
            ratios.append((layer.weight.std() / default.std()).item())
    for name in ("table", "train1", "train2", "train3"):
        said = (EXPERIMENTS / f"student/{name}.yaml").read_text()
        assert f"{steps_per_epoch(50_000, batch_size=128)} steps (his {-(-50_000 // 128)}, the last one of 80" in said
        assert 50_000 % 128 == 80
        (times,) = re.findall(r"fan-out \(He et al. 2015\): ([\d.]+) times", said)
        assert float(times) == pytest.approx(fmean(ratios), abs=0.1)  # it is the root of 6
        if name != "table":
            (hours,) = re.findall(rf"^\| {name} \|.* ([\d.]+) \| [^|]+ \|$", study, re.M)
            assert f"1080 Ti: {hours}\n" in said
