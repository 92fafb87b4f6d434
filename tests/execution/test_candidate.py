"""Tests of `raytrain judge BASE EXPERIMENT`: the seeds that are trained, when it ends, and what is refused before."""

import json
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from raytrain.cli.app import app
from raytrain.cli.runs.judge import _experiment
from raytrain.comparison import referee
from raytrain.execution import local
from raytrain.execution.options import RunOptions
from raytrain.execution.run import run
from raytrain.experiment.experiment import Experiment
from raytrain.experiment.reading import read_experiment, stored_text
from raytrain.experiment.shipped import shipped_experiment
from raytrain.experiment.yaml_source import dump_yaml
from raytrain.runs.writing.journal import RunJournal
from raytrain.runs.writing.lock import run_locked
from raytrain.storage.folder import Folder
from raytrain.training.recipe import Recipe

NOISE = (0.0, 0.004, -0.003, 0.002, -0.002, 0.003, 0.001, -0.004)
"""By how much seeds differ, base and candidate alike."""
OWN = (0.001, -0.001, 0.0, 0.001, -0.001, 0.0, 0.001, -0.001)
"""By how much the differences of seeds differ."""

Keys = dict[str, Any]


@pytest.fixture
def keys(tiny_images: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Keys:
    """Return the recipe of a base, and be in a folder of runs."""
    monkeypatch.setenv("RAYTRAIN_OUT", str(tmp_path / "runs"))
    monkeypatch.chdir(tmp_path)
    return {"dataset": tiny_images, "image_size": 8, "width": 2, "batch_size": 16, "val_size": 8, "epochs": 1}


@pytest.fixture
def base(keys: Keys, train_as_said: Callable[..., None]) -> Callable[..., None]:
    """Return a function that trains a base; a candidate of learning rate 0.2 then gains what is said, one of 0.3 not.

    One of learning rate 0.4 diverges with seed 2.
    """

    def train(*, seeds: tuple[int, ...] = tuple(range(8)), gain: float = 0.02) -> None:
        def reached(recipe: Recipe, _epoch: int) -> float | None:
            if (recipe.lr, recipe.seed) == (0.4, 2):
                return None
            own = OWN[recipe.seed] if recipe.lr != 0.1 else 0.0
            return 0.8 + NOISE[recipe.seed] + own + (gain if recipe.lr == 0.2 else 0.0)

        train_as_said(reached)
        experiment = Experiment.model_validate({"name": "base", "recipe": {**keys, "lr": 0.1}, "seeds": seeds})
        assert run(experiment, RunOptions(out="runs", local=True)).exit_code == 0

    return train


def write(keys: Keys, name: str, **more: Any) -> str:
    """Write an experiment file, and return its name."""
    recipe = {**keys, **more.pop("recipe", {})}
    Path(f"{name}.yaml").write_text(dump_yaml({"recipe": recipe, **more}))
    return f"{name}.yaml"


def judged(candidate: str, *words: str) -> Result:
    return CliRunner().invoke(app, ["judge", "base", candidate, "--local", "--quiet", *words])


def verdict_of(result: Result) -> dict[str, Any]:
    return json.loads(result.stdout)


def looks() -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path("runs/verdicts.jsonl").read_text().splitlines()]


def trained(name: str) -> list[int]:
    lines = Path(f"runs/{name}/trials.jsonl").read_text().splitlines()
    return [json.loads(line)["recipe"]["seed"] for line in lines]


def test_seeds_of_the_base_are_trained_one_after_the_other_until_a_gain_is_shown(
    keys: Keys, base: Callable[..., None]
) -> None:
    base(seeds=(7, 3, 5, 1, 2, 0))
    answer = judged(write(keys, "idea", recipe={"lr": 0.2}, seeds=[11, 12]), "--json")
    assert answer.exit_code == 0, answer.stderr
    verdict = verdict_of(answer)
    assert verdict["verdict"] == "keep"
    # no answer is possible before the third; each later seed is judged before the next is trained
    assert trained("idea") == verdict["seeds"] == [0, 1, 2, 3, 5, 7][: len(verdict["seeds"])]
    assert [len(one["seeds"]) for one in looks()] == list(range(3, len(verdict["seeds"]) + 1))
    assert {one["position"] for one in looks()} == {1}
    assert [one["verdict"] for one in looks()][:-1] == ["more seeds"] * (len(looks()) - 1)


def test_what_is_shown_to_gain_less_than_the_margin_is_dropped_with_its_exit_code(
    keys: Keys, base: Callable[..., None]
) -> None:
    base()
    answer = judged(write(keys, "idea", recipe={"lr": 0.3}), "--margin", "2")
    assert (answer.exit_code, answer.stdout.splitlines()[0]) == (9, "drop")


def test_the_same_command_trains_nothing_and_keeps_the_place_in_the_session(
    keys: Keys, base: Callable[..., None]
) -> None:
    base()
    first = judged(write(keys, "idea", recipe={"lr": 0.2}), "--json")
    seeds = trained("idea")
    again = judged("idea.yaml", "--json")
    assert (again.exit_code, verdict_of(again)) == (0, verdict_of(first))
    assert trained("idea") == seeds
    other = judged(write(keys, "other", recipe={"lr": 0.3}), "--json")
    assert verdict_of(other)["position"] == 2
    # the run is the same candidate
    assert json.loads(CliRunner().invoke(app, ["judge", "base", "idea", "--json"]).stdout) == verdict_of(first)


def test_it_ends_at_the_most_seeds_and_goes_on_with_more(keys: Keys, base: Callable[..., None]) -> None:
    base(gain=0.0005)
    file = write(keys, "idea", recipe={"lr": 0.2})
    few = CliRunner().invoke(app, ["judge", "base", file, "--local", "--margin", "0", "--max-seeds", "4"])
    assert (few.exit_code, trained("idea")) == (10, [0, 1, 2, 3])
    assert "--max-seeds 4 is reached" in few.stderr
    more = CliRunner().invoke(app, ["judge", "base", file, "--local", "--margin", "0", "--max-seeds", "6"])
    assert (more.exit_code, trained("idea")) == (10, [0, 1, 2, 3, 4, 5])
    assert [len(one["seeds"]) for one in looks()] == [3, 4, 4, 5, 6]


def test_it_ends_where_the_base_has_no_other_seeds(keys: Keys, base: Callable[..., None]) -> None:
    base(seeds=(0, 4), gain=0.0005)
    answer = CliRunner().invoke(app, ["judge", "base", write(keys, "idea", recipe={"lr": 0.2}), "--local"])
    assert (answer.exit_code, trained("idea")) == (10, [0, 4])
    assert "base has no other seeds" in answer.stderr


def test_a_run_that_is_there_goes_on(keys: Keys, base: Callable[..., None]) -> None:
    base()
    file = write(keys, "idea", recipe={"lr": 0.2}, seeds=[6, 4])
    assert CliRunner().invoke(app, ["train", file, "--local", "--quiet"]).exit_code == 0
    answer = judged(file, "--json")
    assert answer.exit_code == 0, answer.stderr
    seeds = verdict_of(answer)["seeds"]
    assert trained("idea") == [6, 4, *range(len(seeds) - 2)]
    assert CliRunner().invoke(app, ["train", file, "--local", "--quiet"]).exit_code == 0
    assert len(trained("idea")) == len(seeds)


Interrupted = Callable[[int], AbstractContextManager[None]]


@pytest.fixture
def interrupted_at_seed(monkeypatch: pytest.MonkeyPatch) -> Interrupted:
    """Return a context in which a run is interrupted right after the start of the trial of some seed."""
    started = RunJournal.started

    @contextmanager
    def interrupted(seed: int) -> Generator[None]:
        def interrupting(journal: RunJournal, trial_id: str, **where: Any) -> None:
            started(journal, trial_id, **where)
            if journal.state.progress[trial_id].trial.recipe.seed == seed:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(RunJournal, "started", interrupting)
            yield

    return interrupted


@pytest.mark.parametrize("command", [["resume", "cut"], ["train", "cut.yaml"]])
def test_a_seed_that_judge_has_begun_is_trained_to_its_end_by_other_commands(
    keys: Keys, base: Callable[..., None], interrupted_at_seed: Interrupted, command: list[str]
) -> None:
    base(gain=0.003)
    with interrupted_at_seed(3):
        assert judged(write(keys, "cut", recipe={"lr": 0.2})).exit_code == 130
    assert trained("cut") == [0, 1, 2]
    assert CliRunner().invoke(app, [*command, "--local", "--quiet"]).exit_code == 0
    assert trained("cut") == [0, 1, 2, 3]


def test_a_seed_that_judge_has_only_chosen_is_not_trained_by_other_commands(
    keys: Keys, base: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    base(gain=0.003)
    add = RunJournal.add

    def interrupting(journal: RunJournal, trials: Any, **stage: Any) -> None:
        add(journal, trials, **stage)
        if trials:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RunJournal, "add", interrupting)
        assert judged(write(keys, "cut", recipe={"lr": 0.2})).exit_code == 130
    assert CliRunner().invoke(app, ["resume", "cut", "--local", "--quiet"]).exit_code == 0
    assert trained("cut") == [0, 1, 2]


def test_an_interrupted_candidate_goes_on_with_the_same_command(
    keys: Keys, base: Callable[..., None], interrupted_at_seed: Interrupted
) -> None:
    base(gain=0.003)
    whole = judged(write(keys, "whole", recipe={"lr": 0.2}), "--json")
    file = write(keys, "cut", recipe={"lr": 0.2})
    with interrupted_at_seed(3):  # the first that is added
        answer = judged(file, "--json")
    assert (answer.exit_code, answer.stdout) == (130, "")
    assert "The same command continues" in answer.stderr
    again = judged(file, "--json")
    assert again.exit_code == whole.exit_code
    assert verdict_of(again)["differences"] == verdict_of(whole)["differences"]
    assert trained("cut") == trained("whole")


def test_training_the_file_between_two_judgements_leaves_the_candidate_the_same(
    keys: Keys, base: Callable[..., None]
) -> None:
    base(gain=0.0005)
    file = write(keys, "idea", recipe={"lr": 0.2})
    assert judged(file, "--margin", "0", "--max-seeds", "4").exit_code == 10
    assert CliRunner().invoke(app, ["train", file, "--local", "--quiet"]).exit_code == 0  # it lists seed 0 alone
    later = judged(file, "--margin", "0", "--max-seeds", "6", "--json")
    assert (later.exit_code, trained("idea")) == (10, [0, 1, 2, 3, 4, 5])
    assert verdict_of(later)["seeds"] == [0, 1, 2, 3, 4, 5]
    assert {one["position"] for one in looks()} == {1}


def test_a_base_whose_choice_was_confirmed_needs_more_seeds_of_confirm(
    keys: Keys, train_as_said: Callable[..., None]
) -> None:
    train_as_said(lambda recipe, _: 0.8 + OWN[recipe.seed])
    confirmed = {"name": "base", "recipe": {**keys, "lr": 0.1}, "confirm": {"top": 1, "seeds": [1, 2]}}
    assert run(Experiment.model_validate(confirmed), RunOptions(out="runs", local=True)).exit_code == 0
    answer = CliRunner().invoke(app, ["judge", "base", write(keys, "idea", recipe={"lr": 0.2}), "--local"])
    assert (answer.exit_code, trained("idea")) == (10, [1, 2])
    assert "Train it with more `confirm.seeds`" in " ".join(answer.stderr.split())


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"confirm": {"top": 1, "seeds": [4, 5]}}, "idea has seeds of `confirm`"),
        ({"asha": {"grace_period": 1}, "recipe": {"epochs": 2}}, "idea was trained with early stopping"),
    ],
)
def test_a_run_whose_further_seeds_could_not_count_is_refused_before_any_is_trained(
    keys: Keys, base: Callable[..., None], section: dict[str, Any], message: str
) -> None:
    base()
    recipe = {"lr": 0.2, **section.get("recipe", {})}
    file = write(keys, "idea", **{**section, "recipe": recipe})
    assert CliRunner().invoke(app, ["compare", file, "--local", "--quiet"]).exit_code == 0
    before = trained("idea")
    answer = judged(file)
    assert (answer.exit_code, answer.stdout) == (2, "")
    said = " ".join(answer.stderr.split())
    assert message in said
    assert "judge the run itself" in said
    assert "or give the experiment another `name`" in said
    assert trained("idea") == before


def test_a_seed_that_diverges_ends_it_with_an_error(keys: Keys, base: Callable[..., None]) -> None:
    base()
    answer = judged(write(keys, "idea", recipe={"lr": 0.4}))
    assert (answer.exit_code, answer.stdout) == (2, "")
    assert "seed 2 of idea has diverged" in answer.stderr
    assert not Path("runs/verdicts.jsonl").exists()


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("idea", {"grid": {"lr": [0.2, 0.3]}}, "idea.yaml has 2 configurations, which differ in lr; judge takes one"),
        ("base", {"recipe": {"lr": 0.2}}, "which is BASE; give it another `name`"),
        ("idea", {"recipe": {"dataset": "digits"}}, "different images cannot be compared"),
        ("idea", {"recipe": {"test_size": 0.3}}, "base has test_size 0.2 and idea has 0.3"),
    ],
)
def test_what_cannot_be_judged_is_refused_before_it_is_trained(
    keys: Keys,
    base: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    changes: dict[str, Any],
    message: str,
) -> None:
    keys["dataset"] += "/train"  # it has no test part, so `test_size` counts
    base()
    monkeypatch.setattr(local, "_run_trial", lambda *_: pytest.fail("it was trained"))
    answer = judged(write(keys, name, **changes))
    assert (answer.exit_code, answer.stdout) == (2, ""), answer.exception
    assert message in " ".join(answer.stderr.split())
    assert not Path("runs/idea").exists()


def test_where_the_data_set_has_a_test_part_a_candidate_may_have_another_test_size(
    keys: Keys, base: Callable[..., None]
) -> None:
    base()
    answer = judged(write(keys, "idea", recipe={"lr": 0.2, "test_size": 0.3}), "--json")
    assert (answer.exit_code, verdict_of(answer)["verdict"]) == (0, "keep"), answer.stderr


def test_a_changed_candidate_and_a_session_in_use_are_told_what_judge_can_do(
    keys: Keys, base: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    base()
    file = write(keys, "idea", recipe={"lr": 0.2})
    monkeypatch.setattr(referee, "WAIT_S", 0.0)
    with run_locked(Folder.at("runs/verdicts.jsonl")):
        busy = judged(file)
    assert (busy.exit_code, "Wait for it, or give another --out." in busy.stderr) == (2, True)
    with run_locked(Folder.at("runs/idea")):
        assert "or give this run another name (--name, or `name` in its file)" in judged(file).stderr
    changed = judged(write(keys, "idea", recipe={"lr": 0.3}))
    said = " ".join(changed.stderr.split())
    assert changed.exit_code == 2
    assert "Give this one another name (--name, or `name` in its file)" in said
    assert "(--fresh, or `raytrain rm`)" in said


def test_a_file_that_is_not_there_and_options_that_a_run_cannot_have_are_refused(base: Callable[..., None]) -> None:
    base()
    missing = judged("nothing.yaml")
    assert (missing.exit_code, "nothing.yaml" in missing.stderr) == (2, True)
    of_a_run = CliRunner().invoke(app, ["judge", "base", "base", "--max-seeds", "3"])
    assert of_a_run.exit_code == 2
    assert "--max-seeds says how an experiment is trained, and base is a run" in of_a_run.stderr
    several = judged("quick")
    assert (several.exit_code, "quick has 5 configurations" in several.stderr) == (2, True)
    assert [path.name for path in Path("runs").iterdir() if path.is_dir()] == ["base"]


def test_a_run_with_the_name_of_a_shipped_experiment_is_a_run_unless_it_is_that_one(
    keys: Keys, base: Callable[..., None]
) -> None:
    base()
    experiment = Experiment.model_validate({"name": "fast", "recipe": {**keys, "lr": 0.2}, "seeds": (0, 1, 2, 3, 4, 5)})
    assert run(experiment, RunOptions(out="runs", local=True)).exit_code == 0
    answer = CliRunner().invoke(app, ["judge", "base", "fast", "--json"])
    assert (answer.exit_code, verdict_of(answer)["verdict"]) == (0, "keep")
    shipped = read_experiment(shipped_experiment("fast"))
    Path("runs/fast/experiment.yaml").write_text(stored_text(shipped.replace(seeds=(0, 1))))
    assert _experiment("fast", "runs") == shipped
