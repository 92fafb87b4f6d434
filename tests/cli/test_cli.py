"""Tests of the `raytrain` command: what it prints where, and its exit codes."""

import csv
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from PIL import Image
from pyarrow import parquet
from typer.testing import CliRunner

from raytrain import __version__
from raytrain.analysis.record import RunRecord
from raytrain.cli.app import app
from raytrain.execution import run as run_module
from raytrain.execution.options import RunOptions
from raytrain.execution.run import RunOutcome
from raytrain.experiment.experiment import Experiment
from raytrain.experiment.sections import Asha
from raytrain.runs.results import read_results
from raytrain.runs.state import RunState
from raytrain.storage.folder import Folder
from raytrain.user_code.reference import without_digest

RAYTRAIN = str(Path(sys.executable).parent / "raytrain")
COMMANDS = ("train", "compare", "tune", "results", "data")


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path


@pytest.fixture(scope="session")
def grid_yaml(tiny_images: str) -> str:
    """Return an experiment of two trials that take a fraction of a second."""
    return (
        f"recipe: {{dataset: {tiny_images}, image_size: 8, width: 2, epochs: 1, batch_size: 16, val_size: 8}}\n"
        "grid: {lr: [0.01, 0.02]}\n"
    )


@pytest.fixture
def grid(place: Path, grid_yaml: str) -> str:
    (place / "g.yaml").write_text(grid_yaml)
    return "g.yaml"


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Experiment, RunOptions]]:
    """Return what commands would have run; nothing is trained."""
    calls: list[tuple[Experiment, RunOptions]] = []

    def record(experiment: Experiment, options: RunOptions, **_shown: Any) -> RunOutcome:
        calls.append((experiment, options))
        state = RunState(experiment)
        for progress in state.progress.values():
            state.end(progress.result_so_far("finished"))
        return RunOutcome(RunRecord(Folder.at("runs/x"), state), 1)

    monkeypatch.setattr(run_module, "run", record)
    return calls


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


# ---------------------------------------------------------------- help


def test_help_names_every_command():
    result = call("--help")
    assert result.exit_code == 0
    for command in COMMANDS:
        assert command in result.stdout


@pytest.mark.parametrize("command", [*COMMANDS, "data fetch", "data verify"])
def test_every_command_explains_itself(command: str):
    result = call(*command.split(), "-h")
    assert result.exit_code == 0
    assert f"raytrain {command}" in result.stdout.replace("root", "raytrain")


def test_the_version_is_the_packages():
    assert call("--version").stdout == f"raytrain {__version__}\n"


@pytest.mark.slow
def test_help_of_the_installed_command_imports_neither_torch_nor_ray():
    code = (
        "import sys; from raytrain.cli.app import app\n"
        "try: app(['--help'])\n"
        "finally: print(sorted({'torch', 'ray', 'pyarrow'} & sys.modules.keys()), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.strip()) == (0, "[]")
    assert "compare" in done.stdout


# ---------------------------------------------------------------- what is run


def test_train_without_a_file_runs_the_default_recipe(started: list[Any]):
    assert call("train", "--set", "lr=0.5", "--name", "mine", "--local").exit_code == 0
    ((experiment, options),) = started
    assert experiment == Experiment.model_validate({"name": "mine", "recipe": {"lr": 0.5}})
    assert (options.out, options.local, options.mode, options.address) == ("runs", True, "resume", None)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--max-concurrent", "2", "--trial-timeout", "5"], "--max-concurrent, --trial-timeout"),
        (["--address", "10.0.0.1:6379"], "--address"),
    ],
)
def test_what_is_for_ray_alone_is_warned_of_with_local(
    started: list[Any], words: list[str], named: str, caplog: pytest.LogCaptureFixture
):
    call("compare", *words)
    call("compare", "--local")
    assert "without effect" not in caplog.text
    call("compare", "--local", *words)
    assert f" {named}: without effect, because --local trains without Ray" in caplog.text
    assert len(started) == 3


def test_an_address_of_the_environment_is_not_warned_of(
    started: list[Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    call("compare", "--local")
    assert started
    assert "without effect" not in caplog.text


def test_train_has_no_early_stopping(started: list[Any], place: Path):
    (place / "a.yaml").write_text("asha: {grace_period: 1}")
    call("train", "a.yaml")
    assert started[0][0].asha is None


def test_train_refuses_several_trials_and_says_what_differs(grid: str, started: list[Any]):
    result = call("train", grid)
    assert (result.exit_code, result.stdout, started) == (2, "", [])
    assert (
        "has 2, which differ in lr.\nSet these fields with --set, or run all trials with: raytrain compare"
        in result.stderr
    )


def test_train_runs_a_grid_whose_axes_are_fixed(grid: str, started: list[Any]):
    assert call("train", grid, "--set", "lr=0.3").exit_code == 0
    assert [trial.recipe.lr for trial in started[0][0].trials()] == [0.3]


def test_compare_without_a_file_is_the_shipped_comparison(started: list[Any]):
    assert call("compare").exit_code == 0
    ((experiment, _),) = started
    archs = [trial.recipe.arch for trial in experiment.trials()]
    assert sorted(archs) == ["resnet101", "resnet152", "resnet18", "resnet34", "resnet50"]
    assert experiment.asha is not None
    assert experiment.asha.first_rung(experiment.recipe.epochs) >= experiment.recipe.epochs / 4


def test_compare_takes_architectures_in_place_of_a_file(started: list[Any], place: Path):
    (place / "my_net.py").write_text("def MyNet(num_classes, *, depth=2): ...\n")
    words = ["resnet9", "torchvision:squeezenet1_1", "my_net.py:MyNet(depth=3)"]
    done = call("compare", *words, "--set", "dataset=data/photos", "--set", "epochs=3", "--seeds", "0,1")
    assert done.exit_code == 0, done.stderr
    ((experiment, _),) = started
    archs = [without_digest(trial.recipe.arch) for trial in experiment.trials()]
    assert archs == [*words, *words]
    assert {(trial.recipe.dataset, trial.recipe.epochs) for trial in experiment.trials()} == {("data/photos", 3)}
    assert experiment.name == "resnet9-torchvision-squeezenet1_1-MyNet-on-photos"
    assert f"the run is called {experiment.name}" in done.stderr


def test_one_word_that_names_an_experiment_is_it(started: list[Any]):
    call("compare", "resnet9")
    call("compare", "resnet9", "resnet18", "--name", "mine")
    assert [experiment.name for experiment, _ in started] == ["resnet9", "mine"]
    assert [trial.recipe.arch for trial in started[1][0].trials()] == ["resnet9", "resnet18"]


def test_options_reach_the_experiment(grid: str, started: list[Any]):
    words = ["--seeds", "3,4", "--workers", "2", "--gpus", "0.5", "--max-concurrent", "3", "--no-asha"]
    words += ["--out", "o", "--fresh", "--address", "ray://h:1"]
    assert call("tune", "--grid", grid, *words, "--set", "epochs=7").exit_code == 0
    ((experiment, options),) = started
    assert experiment.seeds == (3, 4)
    assert experiment.recipe.epochs == 7
    resources = experiment.resources
    assert (resources.workers, resources.gpus_per_worker, resources.max_concurrent) == (2, 0.5, 3)
    assert (options.out, options.mode, options.address) == ("o", "fresh", "ray://h:1")


def test_the_mode_of_asha_is_an_option_which_keeps_the_rest_of_the_section(started: list[Any], place: Path):
    (place / "asha.yaml").write_text("grid: {lr: [0.1, 0.2]}\nasha: {grace_period: 2, rescue: 1}\n")
    for command, mode in (("tune", "promote"), ("compare", "stop"), ("tune", "none")):
        assert call(command, "asha.yaml", "--asha", mode).exit_code == 0
    promoted, stopped, whole = (experiment.asha for experiment, _ in started)
    assert (promoted.mode, promoted.grace_period, promoted.rescue) == ("promote", 2, 1)
    assert (stopped.mode, stopped.grace_period) == ("stop", 2)
    assert whole is None
    call("tune", "--grid", "lr=0.1,0.2", "--asha", "promote")
    assert started[-1][0].asha == Asha(mode="promote")
    both = call("tune", "asha.yaml", "--asha", "promote", "--no-asha")
    assert both.exit_code == 2
    assert "--asha promote and --no-asha are given; give one of them" in both.stderr


def test_tune_takes_its_grid_from_the_command_line(started: list[Any]):
    schedules = "schedule=cosine,triangle(start=0.1, peak=0.5)"
    call("tune", "--grid", "lr=0.1,0.01", "--grid", schedules, "--set", "epochs=3")
    ((experiment, _),) = started
    assert experiment.name == "tune"
    assert [(trial.recipe.lr, trial.recipe.schedule, trial.recipe.epochs) for trial in experiment.trials()] == [
        (lr, schedule, 3) for lr in (0.1, 0.01) for schedule in ("cosine", "triangle(start=0.1, peak=0.5)")
    ]


def test_axes_and_ranges_on_the_command_line_are_added_to_those_of_the_file(grid: str, started: list[Any]):
    call(
        "tune",
        grid,
        "--grid",
        "momentum=uniform:0.5:0.9",
        "--grid",
        "width=int:2:4",
        "--samples",
        "5",
        "--sampler",
        "sobol",
    )
    ((experiment, _),) = started
    assert (experiment.name, experiment.samples, experiment.sampler) == ("g", 5, "sobol")
    recipes = [trial.recipe for trial in experiment.trials()]
    assert {recipe.lr for recipe in recipes} == {0.01, 0.02}
    assert len({recipe.momentum for recipe in recipes}) == 5
    assert {recipe.width for recipe in recipes} <= {2, 3, 4}


def test_the_size_of_a_round_of_tpe_is_an_option(started: list[Any]):
    call("tune", *["--grid", "lr=log:0.01:1", "--samples", "9", "--sampler", "tpe", "--round-size", "4"])
    ((experiment, _),) = started
    assert (experiment.sampler, experiment.round_size) == ("tpe", 4)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["tune"], "tune needs a grid"),
        (["tune", "a.yaml", "--grid", "b.yaml"], "two experiments are given, a.yaml and b.yaml"),
        (["tune", "--grid", "lr=log:1e-3:1"], "samples is missing; say how many samples to draw"),
        (["tune", "--grid", "lr=log:1", "--samples", "3"], "give its two ends"),
        (["tune", "--grid", "lr=0.1,x"], "given 'x'; must be a number"),
        (["tune", "--grid", "learning=0.1"], "unknown recipe field 'learning'"),
        (["tune", "--grid", "lr=0.1", "--sampler", "bayes"], "choose one of grid, random, sobol, tpe"),
        (["tune", "--grid", "lr=0.1", "--sampler", "sobel"], "unknown choice 'sobel'; did you mean 'sobol'?"),
        (["tune", "--grid", "lr=0.1", "--samples", "a few"], "'a few'"),
        (["tune", "--grid", "lr=0.1", "--round-size", "4"], "of rounds of tpe, and the sampler is random"),
        (["tune", "--grid", "lr=0.1", "--round-size", "8"], "of rounds of tpe, and the sampler is random"),
        (
            ["tune", "--grid", "lr=0.1,0.2", "--sampler", "sobol"],
            "sampler: sobol draws samples, and samples is missing",
        ),
        (["tune", "--grid", "lr=0.1,0.2", "--sampler", "random"], "sampler: random draws samples, and samples is"),
    ],
)
def test_a_grid_that_cannot_be_is_refused_with_what_to_write(words: list[str], said: str, started: list[Any]):
    result = CliRunner().invoke(app, words)
    shown = " ".join(f"{result.output} {result.exception}".replace("│", " ").split())
    assert said in shown
    assert not started


def test_train_takes_seeds(started: list[Any]):
    call("train", "--seeds", "3,4")
    ((experiment, _),) = started
    assert [trial.recipe.seed for trial in experiment.trials()] == [3, 4]


@pytest.mark.usefixtures("empty_report")
def test_a_search_that_is_given_more_samples_trains_only_the_new_ones(tiny_images: str):
    recipe = ["image_size=8", "width=2", "epochs=1", "batch_size=16", "val_size=8", f"dataset={tiny_images}"]
    words = ["tune", "--local", "--grid", "lr=log:1e-3:1", *(word for one in recipe for word in ("--set", one))]
    assert call(*words, "--samples", "2").exit_code == 0
    before = read_results(Folder.at("runs/tune"))
    assert call(*words, "--samples", "3").exit_code == 0
    after = read_results(Folder.at("runs/tune"))
    assert after[:2] == before
    assert len(after) == 3


def test_a_plan_lists_its_trials_with_their_values_and_trains_nothing(grid: str, place: Path):
    words = ["plan", "--list", grid, "--grid", "optimizer=sgd,adam", "--grid", "momentum=0.8,0.9"]
    listed = call(*words)
    assert listed.stdout.count("resnet18-") == 6
    assert listed.stdout.count("–") >= 2
    assert "2 combinations train the same as another" in listed.stderr
    rows = json.loads(call(*words, "--json").stdout)["trials"]
    assert [(row["lr"], row["optimizer"], row["momentum"]) for row in rows][:3] == [
        (0.01, "sgd", 0.8),
        (0.01, "sgd", 0.9),
        (0.01, "adam", 0.9),  # momentum has no effect: it has the recipe's value
    ]
    assert sorted(path.name for path in place.iterdir()) == ["g.yaml"]


def test_the_address_may_come_from_the_environment(started: list[Any], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    call("train")
    assert started[0][1].address == "auto"


# ---------------------------------------------------------------- a run in this process


@pytest.mark.usefixtures("empty_report")
def test_a_run_prints_its_table_and_says_what_next_on_stderr(grid: str, monkeypatch: pytest.MonkeyPatch):
    result = call("tune", "--grid", grid, "--local")
    assert result.exit_code == 0
    assert result.stdout.count("finished") == 2
    last = [line for line in result.stderr.splitlines() if line][-3:]
    assert last[0].startswith("Validation chooses ")
    assert last[2].endswith("/runs/g/report.html  More: raytrain results g --explain")
    monkeypatch.setattr("shutil.which", lambda name: f"/bin/{name}")
    explained = call("results", "g", "--explain")
    for part in ("Run folder", "raytrain results g --format md", "tensorboard --logdir"):
        assert part in explained.stderr
        assert part not in explained.stdout
    monkeypatch.setattr("shutil.which", lambda _: None)
    assert "tensorboard" not in call("results", "g", "--explain").stderr


@pytest.mark.usefixtures("empty_report")
def test_json_is_all_that_stands_on_stdout(grid: str):
    result = call("tune", "--grid", grid, "--local", "--json", "--name", "x")
    rows = json.loads(result.stdout)["trials"]
    assert [row["status"] for row in rows] == ["finished", "finished"]
    assert {row["trial"] for row in rows} == {r.trial for r in read_results(Folder.at("runs/x"))}
    assert rows[0]["test_accuracy"] >= rows[1]["test_accuracy"]


@pytest.mark.usefixtures("empty_report")
def test_quiet_prints_only_the_results(grid: str):
    result = call("tune", "--grid", grid, "--local", "--quiet")
    assert result.stderr == ""
    assert result.stdout.count("finished") == 2


@pytest.mark.usefixtures("empty_report")
def test_the_second_time_it_says_that_nothing_was_trained(grid: str):
    call("tune", "--grid", grid, "--local", "-q")
    result = call("tune", "--grid", grid, "--local")
    assert result.exit_code == 0
    assert "All 2 trials have ended already; nothing was trained." in result.stderr


@pytest.mark.usefixtures("empty_report")
@pytest.mark.parametrize(("rates", "code"), [("[1e30, 0.01]", 4), ("[1e30, 2e30]", 5)])
def test_diverged_trials_are_reported_and_decide_the_exit_code(grid: str, place: Path, rates: str, code: int):
    text = (place / grid).read_text().replace("[0.01, 0.02]", rates)
    (place / grid).write_text(text)
    result = call("tune", "--grid", grid, "--local")
    assert result.exit_code == code
    assert "diverged at epoch 1" in result.stdout
    assert "the training loss was not finite in epoch 1" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.usefixtures("empty_report")
def test_another_experiment_under_a_name_ends_with_2(grid: str):
    call("tune", "--grid", grid, "--local", "-q")
    result = call("tune", "--grid", grid, "--local", "--set", "momentum=0.5")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("raytrain: ")
    assert "recipe.momentum: 0.9 before, 0.5 now" in result.stderr


@pytest.mark.slow
@pytest.mark.timeout(300)  # three processes that import PyTorch
def test_the_installed_command_trains_and_reads_back(grid: str):
    train = [RAYTRAIN, "train", grid, "--set", "lr=0.01", "--local"]
    done = subprocess.run(train, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "finished" in done.stdout
    assert "1 of 1 trial to run" in done.stderr
    assert "  started" in done.stderr
    assert Path("runs/g/report.html").is_file()
    assert list(Path("runs/g/plots").glob("*.png"))
    read = [RAYTRAIN, "results", "g", "--format", "json"]
    done = subprocess.run(read, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert [row["status"] for row in json.loads(done.stdout)["trials"]] == ["finished"]


@pytest.mark.slow
def test_an_error_of_the_installed_command_is_one_message_without_traceback():
    done = subprocess.run([RAYTRAIN, "train", "no.yaml"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "raytrain: no.yaml: no such file; give the path of an experiment in YAML\n"


# ---------------------------------------------------------------- results


@pytest.fixture(scope="session")
def trained_once(grid_yaml: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a finished run, not to be changed."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "g.yaml").write_text(grid_yaml)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("raytrain.report.page.render", lambda *_, **__: "")
        patch.setattr("raytrain.report.page.pictures", lambda *_, **__: {})
        trained = call("tune", "--grid", f"{folder}/g.yaml", "--local", "-q", "--name", "x", "--out", f"{folder}/runs")
    assert trained.exit_code == 0, trained.output
    return folder / "runs" / "x"


@pytest.fixture
def finished(trained_once: Path) -> str:
    shutil.copytree(trained_once, "runs/x")
    return "x"


@pytest.mark.usefixtures("finished")
def test_results_without_a_run_lists_them():
    rows = [line.split() for line in call("results").stdout.splitlines() if line.strip()]
    assert [row[0] for row in rows] == ["run", "─" * len(rows[1][0]), "x"]
    assert {"2/2", "finished"} <= {*rows[2]}


def test_results_where_there_is_none_says_how_to_begin():
    result = call("results")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "there is no run under runs; start one with: raytrain compare" in result.stderr


def read_rows(format_: str, content: bytes) -> list[dict[str, Any]]:
    if format_ == "json":
        return json.loads(content)["trials"]
    if format_ == "csv":
        return list(csv.DictReader(io.StringIO(content.decode())))
    return parquet.read_table(io.BytesIO(content)).to_pylist()


@pytest.mark.parametrize("format_", ["json", "csv", "parquet"])
@pytest.mark.parametrize("to_file", [False, True])
def test_results_are_written_for_other_programs(finished: str, format_: str, to_file: bool):
    result = call("results", finished, "-f", format_, *(["-o", "file"] if to_file else []))
    assert result.exit_code == 0
    rows = read_rows(format_, Path("file").read_bytes() if to_file else result.stdout_bytes)
    expected = read_results(Folder.at("runs/x"))
    assert {row["trial"]: float(row["test_accuracy"]) for row in rows} == {r.trial: r.test_accuracy for r in expected}
    assert {float(row["lr"]) for row in rows} == {0.01, 0.02}
    if to_file:
        assert (result.stdout, result.stderr) == ("", "2 results written to file\n")


@pytest.mark.parametrize("format_", ["table", "md", "tex"])
@pytest.mark.parametrize("to_file", [False, True])
def test_results_are_written_for_people(finished: str, format_: str, to_file: bool):
    result = call("results", finished, "-f", format_, *(["-o", "file"] if to_file else []))
    text = Path("file").read_text() if to_file else result.stdout
    assert text.count("finished") == 2
    assert ("| rank of trained network | trial" in text) == (format_ == "md")
    assert ("rank of trained network & trial" in text) == (format_ == "tex")


@pytest.mark.usefixtures("finished", "empty_report")
def test_results_of_several_runs_are_ranked_together(grid: str):
    call("train", grid, "--set", "lr=0.3", "--local", "-q", "--name", "y")
    rows = json.loads(call("results", "x", "y", "-f", "json").stdout)["trials"]
    assert sorted(row["lr"] for row in rows) == [0.01, 0.02, 0.3]
    table = call("results", "x", "y", "--sort", "lr", "--columns", "run,lr,seconds").stdout.split("\n")
    assert [line.split()[:2] for line in table[3:6]] == [["x", "0.01"], ["x", "0.02"], ["y", "0.3"]]
    assert len(json.loads(call("results", "x", "y", "--json", "--top", "1").stdout)["trials"]) == 1


def test_a_claim_that_does_not_hold_ends_with_9(finished: str):
    assert call("results", finished, "--assert", "test_accuracy >= 0", "--assert", "finished == 2").exit_code == 0
    result = call("results", finished, "--assert", "test_accuracy >= 0", "--assert", "finished > 2")
    assert result.exit_code == 9
    assert "raytrain: assertion failed: finished > 2: finished is 2" in result.stderr
    assert call("results", finished, "--assert", "finished").exit_code == 2


def test_only_asked_for_columns_are_written(finished: str):
    rows = json.loads(call("results", finished, "--json", "--columns", "lr,test_accuracy").stdout)["trials"]
    assert [list(row) for row in rows] == [["lr", "test_accuracy"]] * 2
    refused = call("results", finished, "-f", "csv", "--columns", "lr,speed")
    assert refused.exit_code == 2
    assert "unknown column 'speed'" in refused.stderr


def test_no_escape_of_a_run_folder_reaches_the_terminal(finished: str, place: Path):
    title = "\x1b]0;owned\x07"
    file = place / "runs" / finished / "trials.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    for index, row in enumerate(rows):
        row["recipe"]["dataset"] = f"{index}{title}"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (place / "runs" / f"y{title}").mkdir()
    (place / "runs" / f"y{title}" / "experiment.yaml").touch()
    shown = [call("results", finished, "-f", format_) for format_ in ("table", "md", "tex", "csv", "json")]
    shown += [call("results", finished, "--explain"), call("results"), call("results", title)]
    assert not any("\x1b" in one.stdout + one.stderr for one in shown)
    assert sum("owned" in one.stdout + one.stderr for one in shown) >= 4


def test_a_printed_command_can_be_pasted_wherever_the_run_lies(finished: str, place: Path):
    (place / "runs").rename(place / "a;touch b")
    said = call("results", finished, "--out", "a;touch b").stderr
    assert "raytrain results x --out 'a;touch b' --explain" in said


@pytest.mark.usefixtures("finished")
def test_an_unknown_run_is_answered_with_those_there_are():
    result = call("results", "z")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("raytrain: there is no run 'z' under runs")
    assert "choose one of x" in result.stderr


def test_a_file_that_cannot_be_written_is_named(finished: str):
    result = call("results", finished, "-f", "json", "-o", "nowhere/file")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("raytrain: nowhere/file: cannot be written: No such file or directory")


# ---------------------------------------------------------------- data


def test_fetch_describes_the_images(tiny_images: str):
    result = call("data", "fetch", tiny_images, "--image-size", "8")
    assert result.exit_code == 0
    assert "40 training and 10 test images in 2 classes; fingerprint at 8 × 8 pixels " in result.stdout


def test_verify_prints_a_page_of_80_columns_and_a_document(tiny_images: str):
    printed = call("data", "verify", tiny_images, "--image-size", "8", "--near")
    document = json.loads(call("data", "verify", tiny_images, "--image-size", "8", "--json").stdout)
    assert printed.exit_code == 0
    assert max(map(len, printed.stdout.splitlines())) <= 80
    assert (document["schema_version"], document["dataset"]) == (1, tiny_images)
    assert {part: sum(classes.values()) for part, classes in document["classes"].items()} == {"train": 40, "test": 10}
    assert printed.stdout.split()[-1] == document["fingerprint"]


def test_verify_compares_the_fingerprint(tiny_images: str):
    found = call("data", "verify", tiny_images, "--image-size", "8").stdout.split()[-1]
    assert call("data", "verify", tiny_images, "--image-size", "8", "--fingerprint", found).exit_code == 0
    other = call("data", "verify", tiny_images, "--image-size", "8", "--fingerprint", "0" * 16)
    assert other.exit_code == 9
    assert f"is {found}, not the expected {'0' * 16}" in other.stderr


def test_verify_shows_the_page_and_then_refuses_what_cannot_be_read(tiny_images: str, tmp_path: Path):
    root = tmp_path / "images"
    shutil.copytree(tiny_images, root)
    next((root / "train").glob("*/*.png")).write_bytes(b"no image")
    refused = call("data", "verify", str(root), "--image-size", "8")
    assert refused.exit_code == 2
    assert "Unreadable  1, which are not counted above" in refused.stdout
    assert "raytrain: 1 image cannot be read:" in refused.stderr
    assert call("data", "verify", str(root), "--image-size", "8", "--skip-bad").exit_code == 0
    assert call("data", "fetch", str(root), "--image-size", "8").exit_code == 2
    assert "39 training" in call("data", "fetch", str(root), "--image-size", "8", "--skip-bad").stdout


def pictures(folder: Path, count: int) -> None:
    folder.mkdir(parents=True)
    for index in range(count):
        Image.new("RGB", (8, 8), (index, 0, 0)).save(folder / f"{index}.png")


def test_verify_refuses_what_training_would_refuse(place: Path):
    pictures(place / "one" / "train" / "cat", 8)
    pictures(place / "one" / "test" / "cat", 2)
    for name, count in (("cat", 20), ("dog", 1)):
        pictures(place / "few" / "train" / name, count)
        pictures(place / "few" / "test" / name, 2)
    for folder, message in (("one", "'one' has 1 class; give"), ("few", "class 'dog' has 1 training image")):
        verified = call("data", "verify", folder, "--image-size", "8")
        trained = call("train", "--local", "--set", f"dataset={folder}", "--set", "image_size=8")
        assert (verified.exit_code, trained.exit_code) == (2, 2)
        assert message in verified.stderr
        assert message in trained.stderr


def test_verify_compares_the_fingerprint_of_what_only_val_size_0_can_train(place: Path):
    for name, count in (("cat", 20), ("dog", 1)):
        pictures(place / "few" / "train" / name, count)
        pictures(place / "few" / "test" / name, 2)
    refused = call("data", "verify", "few", "--image-size", "8")
    assert refused.exit_code == 2
    found = refused.stdout.split()[-1]
    assert call("data", "verify", "few", "--image-size", "8", "--fingerprint", found).exit_code == 0
    assert call("data", "verify", "few", "--image-size", "8", "--fingerprint", "0" * 16).exit_code == 9


def test_columns_that_are_none_are_refused(tiny_images: str):
    for columns, message in (("photo", "does not name columns"), ("image=photo", "is for Parquet files")):
        result = call("data", "verify", tiny_images, "--columns", columns)
        assert result.exit_code == 2
        assert message in result.stderr


def test_a_shipped_experiment_is_found_by_its_name_even_beside_a_folder_of_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "quick").mkdir()
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["compare", "quick", "--set", "val_size=0"])
    assert done.exit_code == 2
    assert "quick.yaml:" in done.stderr
    assert "asha stops trials by validation accuracy" in done.stderr


def test_an_argument_of_a_component_is_an_axis_on_the_command_line():
    axes = ["--grid", "optimizer.iterations=2,3", "--grid", "optimizer=muon"]
    listed = CliRunner().invoke(app, ["plan", "--list", *axes])
    assert (listed.exit_code, listed.stdout.count("-muon-")) == (0, 2), listed.output
