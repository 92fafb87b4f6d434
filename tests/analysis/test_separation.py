"""Tests of raytrain.analysis.separation: which pairs are decided, which seeds they need next, and what is said."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from raytrain.analysis.record import read_record
from raytrain.analysis.separation import Separation, decided, separation, taken_up
from raytrain.analysis.statistics.sequential import Differences, seeds_until_larger
from raytrain.analysis.wording import explain
from raytrain.cli.app import app
from raytrain.experiment.experiment import Experiment
from raytrain.experiment.sections import Separate
from raytrain.experiment.trial import Trial
from raytrain.experiment.yaml_source import dump_yaml
from raytrain.report.figures.legend import legend
from raytrain.report.sections.facts import verdict
from raytrain.runs.events import Stage
from raytrain.runs.results import TrialResult
from raytrain.runs.state import RunState
from raytrain.storage.folder import Folder
from raytrain.training.recipe import Recipe

AHEAD = [0.021, 0.019, 0.022, 0.018, 0.02, 0.021]
EQUAL = [0.0002, -0.0001, 0.0, 0.0001, -0.0002, 0.0001]


def paired(values: list[float]) -> Differences:
    return Differences(np.array(values), np.zeros(len(values)))


def result(lr: float, seed: int, accuracy: float | None, **fields: Any) -> TrialResult:
    recipe = Recipe(lr=lr, seed=seed).model_dump(mode="json")
    status = "finished" if accuracy is not None else "failed"
    values: dict[str, Any] = {"status": status, "test_accuracy": accuracy, "parameters": 1, "epochs": 1} | fields
    return TrialResult(f"lr{lr}-s{seed}", recipe=recipe, **values)


def separated(accuracies: dict[float, list[float | None]], *, seeds: int = 1, max_seeds: int = 20) -> Separation:
    results = [result(lr, seed, value) for lr, values in accuracies.items() for seed, value in enumerate(values)]
    separate = Separate(points=0.3, max_seeds=max_seeds)
    return separation(results, {}, separate=separate, seeds=list(range(seeds)))


def from_base(gains: list[float]) -> list[float | None]:
    return [0.9 + gain for gain in gains]


def test_a_pair_is_ahead_behind_or_the_same_within_the_gap() -> None:
    assert decided(paired(AHEAD), gap=0.003, level=0.05)[0] == "ahead"
    assert decided(-paired(AHEAD), gap=0.003, level=0.05)[0] == "behind"
    assert decided(paired(EQUAL), gap=0.003, level=0.05)[0] == "same"
    assert decided(paired([0.02, -0.02, 0.01]), gap=0.003, level=0.05) == ("open", 3)


def test_each_side_of_a_pair_has_half_of_its_level() -> None:
    answer, seeds = decided(paired(AHEAD), gap=0.003, level=0.001)
    assert answer == "ahead"
    assert seeds == seeds_until_larger(paired(AHEAD), null=0.0, level=0.0005)


def test_a_pair_is_wrongly_decided_in_at_most_its_share_of_runs() -> None:
    draws = np.random.default_rng(0).normal(0, 0.003, (1500, 20))
    answers = [decided(paired(list(one)), gap=0.003, level=0.1)[0] for one in draws]
    assert sum(answer in {"ahead", "behind"} for answer in answers) <= 0.1 * len(draws)
    beyond = [decided(paired(list(one)), gap=0.003, level=0.1)[0] for one in draws + 0.003]
    assert sum(answer in {"same", "behind"} for answer in beyond) <= 0.1 * len(draws)


def test_more_pairs_need_more_evidence() -> None:
    two = separated({0.1: from_base(AHEAD), 0.2: from_base([0.0] * 6)})
    others = {0.3 + n / 10: from_base([0.01 * (n + 1)] * 6) for n in range(5)}
    many = separated({0.1: from_base(AHEAD), 0.2: from_base([0.0] * 6), **others})
    first, second = two.pairs[0], many.pairs[0]
    assert (first.answer, second.answer) == ("ahead", "ahead")
    assert first.seeds < second.seeds


def test_only_open_pairs_get_their_next_seed() -> None:
    # the first two are the same, and the third is far behind both but only after more seeds
    known = separated({0.1: [0.95], 0.2: [0.95], 0.3: [0.9]})
    assert sorted((one.recipe["lr"], seed) for one, seed in known.next_trials()) == [(0.1, 1), (0.2, 1), (0.3, 1)]
    apart = separated({0.1: from_base(AHEAD), 0.2: from_base([0.0] * 6), 0.3: from_base([0.0001, 0.03] * 3)})
    assert [pair.answer for pair in apart.pairs] == ["ahead", "open", "open"]
    assert sorted((one.recipe["lr"], seed) for one, seed in apart.next_trials()) == [(0.1, 6), (0.2, 6), (0.3, 6)]
    assert separated({0.1: from_base(AHEAD), 0.2: from_base([0.0] * 6)}).next_trials() == []


def test_a_seed_that_one_of_a_pair_lacks_comes_first() -> None:
    known = separated({0.1: [0.95, 0.96, 0.95], 0.2: [0.95]})
    assert [(one.recipe["lr"], seed) for one, seed in known.next_trials()] == [(0.2, 1)]
    assert known.pairs[0].seeds == 1


def run_of(*rounds: tuple[Stage, list[int]], seeds: list[int], epochs: Sequence[int] = ()) -> RunState:
    """Return the state of a run of two configurations that has trained some seeds, round by round.

    Args:
        rounds: Stage and seeds of each; one of the search is of a command of its own.
        seeds: Seeds that the experiment lists now.
        epochs: Epochs of each round; those of the last are the experiment's now. () for the usual ones.
    """
    now = {"epochs": epochs[-1]} if epochs else {}
    values = {"name": "run", "recipe": now, "grid": {"lr": [0.1, 0.2]}, "seeds": seeds}
    state = RunState(Experiment.model_validate(values))
    for index, (stage, trained) in enumerate(rounds):
        recipe_then = state.experiment.recipe.replace(epochs=epochs[index]) if epochs else state.experiment.recipe
        if stage == "search":
            state.apply({"event": "begun", "parameters": {}})
        for seed in trained:
            for trial in [Trial.of(recipe_then.replace(lr=lr, seed=seed)) for lr in (0.2, 0.1)]:
                recipe = trial.recipe.model_dump(mode="json")
                if stage == "separate":
                    state.apply(
                        {"event": "added", "trial": trial.id, "stage": stage, "recipe": recipe, "parameters": 1}
                    )
                state.apply({"event": "started", "trial": trial.id, "attempt": 1, "after_epoch": 0, "where": ""})
                accuracy = 0.92 if (trial.recipe.lr == 0.1) == seed % 2 else 0.9  # so the pair stays open
                state.end(TrialResult(trial.id, "finished", recipe, 1, 1, test_accuracy=accuracy, test_loss=1.0))
    return state


def test_a_seed_that_is_listed_later_comes_behind_those_that_were_added() -> None:
    rounds: list[tuple[Stage, list[int]]] = [("search", [2, 0, 1]), ("separate", [3]), ("separate", [4])]
    assert taken_up(run_of(*rounds, seeds=[0, 1, 2])) == [0, 1, 2, 3, 4]
    grown = run_of(*rounds, seeds=[0, 1, 2, 10])
    assert taken_up(grown) == [0, 1, 2, 3, 4, 10]
    known = separation(grown.results(), {}, separate=Separate(points=0.3, max_seeds=8), seeds=taken_up(grown))
    assert [pair.seeds for pair in known.pairs] == [5]
    assert list(known.order) == [0, 1, 2, 3, 4, 10, 11, 12]
    again = run_of(*rounds, ("search", [10]), ("separate", [11]), seeds=[0, 1, 2, 10, 20])
    assert taken_up(again) == [0, 1, 2, 3, 4, 10, 11, 20]
    assert taken_up(run_of(("search", [0, 1]), ("search", [5]), seeds=[5, 0, 1])) == [0, 1, 5]
    assert taken_up(run_of(("search", [0, 1]), seeds=[5, 0, 1])) == [0, 1, 5]


def test_seeds_that_were_dropped_and_are_added_again_keep_their_place() -> None:
    rounds: list[tuple[Stage, list[int]]] = [("search", [0, 1, 2]), ("separate", [1]), ("separate", [2])]
    assert taken_up(run_of(*rounds, seeds=[0])) == [0, 1, 2]
    assert taken_up(run_of(*rounds, ("separate", [3]), seeds=[0])) == [0, 1, 2, 3]


def test_a_run_that_is_given_more_epochs_looks_at_its_seeds_in_the_same_order() -> None:
    rounds: list[tuple[Stage, list[int]]] = [("search", [0, 1, 2]), ("separate", [3]), ("separate", [4])]
    again: list[tuple[Stage, list[int]]] = [("search", [0, 1, 2]), ("separate", [3]), ("separate", [4])]
    for count in (1, 2, 3):
        grown = [*rounds, *again[:count]]
        lengths = [5] * len(rounds) + [9] * count
        assert taken_up(run_of(*grown, seeds=[0, 1, 2], epochs=lengths)) == [0, 1, 2, 3, 4][: count + 2]


def test_no_seed_is_beyond_the_largest_number() -> None:
    assert separated({0.1: [0.95, 0.9], 0.2: [0.95, 0.99]}, max_seeds=2).next_trials() == []


def test_a_configuration_that_lost_a_seed_is_named_and_gets_no_more() -> None:
    known = separated({0.1: [0.95, None], 0.2: [0.95, 0.96]})
    assert known.next_trials() == []
    assert known.sentences()[-1] == "lr=0.1 and lr=0.2 are not decided: seed 1 of lr=0.1 failed or diverged."


def test_configurations_on_other_test_images_make_no_pair() -> None:
    here, there = result(0.1, 0, 0.9), result(0.2, 0, 0.8)
    there.recipe["dataset"] = "photos"
    assert not separation([here, there], {}, separate=Separate(points=0.3), seeds=[0]).pairs


def test_of_a_pair_without_a_common_first_seed_that_seed_is_named() -> None:
    known = separation([result(0.1, 0, 0.9)], {}, separate=Separate(points=0.3), seeds=[0])
    assert known.pairs == []
    waiting = result(0.2, 0, None, status="unfinished")
    known = separation([result(0.1, 0, 0.9), waiting], {}, separate=Separate(points=0.3), seeds=[0])
    said = "lr=0.1 and lr=0.2 are not decided: seed 0 of lr=0.2 has not ended yet."
    assert known.sentences()[-1] == said
    later = [result(lr, 1, 0.9) for lr in (0.1, 0.2)]  # it counts once the first has ended
    known = separation([result(0.1, 0, 0.9), waiting, *later], {}, separate=Separate(points=0.3), seeds=[0, 1])
    assert (known.pairs[0].seeds, known.sentences()[-1]) == (0, said)
    neither = [result(0.1, 0, None, status="unfinished"), waiting, *later]
    known = separation(neither, {}, separate=Separate(points=0.3), seeds=[0, 1])
    assert known.sentences()[-1] == "lr=0.1 and lr=0.2 are not decided: seed 0 of both has not ended yet."


def test_to_leave_configurations_out_after_a_look_makes_the_others_no_easier_to_tell_apart() -> None:
    accuracies = {0.1: from_base(AHEAD), 0.2: from_base([0.0] * 6), 0.3: from_base([0.01] * 6), 0.4: [0.95]}
    whole = separated(accuracies).pairs[0]
    results = [result(lr, seed, value) for lr, values in accuracies.items() for seed, value in enumerate(values)]
    listed, dropped = ([one for one in results if (one.recipe["lr"] < 0.25) == kept] for kept in (True, False))
    separate = Separate(points=0.3, max_seeds=20)
    shrunk = separation(listed, {}, separate=separate, seeds=[0], dropped=dropped)
    assert (shrunk.pairs[0].answer, shrunk.pairs[0].seeds) == ("ahead", whole.seeds)
    assert whole.seeds > separation(listed, {}, separate=separate, seeds=[0]).pairs[0].seeds
    assert "The pairs of 2 configurations that this run trained, and does not list any more" in shrunk.sentences()[1]


@pytest.mark.parametrize("left", [5, 10, 20])
def test_to_leave_lengths_of_an_axis_out_after_a_look_makes_no_pair_easier_to_tell_apart(left: int) -> None:
    recipes = {(epochs, lr): {"epochs": epochs, "lr": lr} for epochs in (5, 10, 20) for lr in (0.1, 0.2)}
    results: list[TrialResult] = []
    for (epochs, lr), fields in recipes.items():
        for seed, accuracy in enumerate(from_base(AHEAD if lr == 0.1 else [0.0] * 6)):
            one = result(lr, seed, accuracy)
            results.append(replace(one, trial=f"{one.trial}-e{epochs}", recipe=one.recipe | fields))
    separate = Separate(points=0.3, max_seeds=20)
    whole = separation(results, {}, separate=separate, seeds=[0])
    listed, dropped = ([one for one in results if (one.recipe["epochs"] == left) == kept] for kept in (True, False))
    (pair,) = separation(listed, {}, separate=separate, seeds=[0], dropped=dropped).pairs
    (before,) = [one for one in whole.pairs if {one.one.recipe["epochs"], one.other.recipe["epochs"]} == {left}]
    assert (pair.answer, pair.seeds) == (before.answer, before.seeds)
    assert pair.seeds > separation(listed, {}, separate=separate, seeds=[0]).pairs[0].seeds


def test_what_a_run_trained_and_does_not_list_any_more_is_known(write_run: Callable[..., None], tmp_path: Path) -> None:
    write_run("run", [range(900), range(920), range(940)], grid={"lr": [0.1, 0.2, 0.3]})
    folder = tmp_path / "run"
    ids = [json.loads(line)["trial"] for line in (folder / "trials.jsonl").read_text().splitlines()]
    events = [{"event": "started", "trial": one, "attempt": 1, "after_epoch": 0, "where": ""} for one in ids]
    now = {"time": "2026-01-01T00:00:00+00:00"}
    (folder / "events.jsonl").write_text("".join(f"{json.dumps(now | one)}\n" for one in events))
    experiment = {"name": "run", "grid": {"lr": [0.1, 0.2]}, "separate": {"points": 0.3}}
    fewer = Experiment.model_validate(experiment)
    (folder / "experiment.yaml").write_text(dump_yaml(fewer.model_dump(mode="json")))
    known = read_record(Folder.at(str(folder))).separation
    assert known is not None
    assert (len(known.pairs), known.dropped) == (1, 1)


def test_the_sentences_count_the_answers_and_say_who_is_ahead() -> None:
    lines = separated({0.1: from_base([0.0] * 6), 0.2: from_base(AHEAD)}).sentences()
    assert lines[0].startswith(
        "Of 1 pair, 1 is separated, 0 are the same within 0.3 points of test accuracy, and 0 are not decided."
    )
    assert lines[1].startswith("lr=0.2 is ahead of lr=0.1 by 2.0")
    assert lines[1].endswith(" points of test accuracy (4 seeds).")
    many = {0.1 * n: [0.9] for n in range(1, 8)}
    assert separated(many).sentences()[-1] == "The other 6 pairs are not listed."


def write_separated(write_run: Callable[..., None], name: str = "run", **keys: Any) -> None:
    """Write a run of two configurations, the first ahead by `AHEAD`, which looked after each of six seeds."""
    keys = {"grid": {"lr": [0.1, 0.2]}, "seeds": list(range(6)), "separate": {"points": 0.3}} | keys
    trials = [trial.recipe for trial in Experiment.model_validate({"name": name, **keys}).trials()]
    right = [range(900 + (round(1000 * AHEAD[one.seed]) if one.lr == 0.1 else 0)) for one in trials]
    write_run(name, right, predicted=False, **keys)


FOUND = "Of 1 pair, 1 is separated, 0 are the same within 0.3 points of test accuracy, and 0 are not decided. If the"


def test_below_the_table_stands_what_the_pairs_have_shown_and_not_what_tests_say_that_allow_for_no_looks(
    write_run: Callable[..., None], tmp_path: Path
) -> None:
    write_separated(write_run)
    for options in ([], ["--sort", "lr"], ["--explain"]):
        said = CliRunner().invoke(app, ["results", "run", *options]).stderr
        assert said.count(FOUND) == 1
        assert "ahead of all others" not in said
    ranking = read_record(Folder.at(str(tmp_path / "run"))).ranking
    said = verdict(ranking, legend(ranking))
    assert "chosen by validation, reaches" in said
    assert FOUND in said
    assert "ahead of all others" not in said
    assert "The run looked after each seed, which these tests do not allow for" in " ".join(explain(ranking))


def test_without_looks_the_tests_of_the_table_say_who_is_ahead(write_run: Callable[..., None]) -> None:
    write_separated(write_run, separate=None)
    result = CliRunner().invoke(app, ["results", "run"])
    assert "The first row is ahead of all others." in result.stderr
    assert "Of 1 pair" not in result.stderr


def test_json_holds_the_pairs_of_each_run_that_looked_after_each_seed(write_run: Callable[..., None]) -> None:
    write_separated(write_run)
    write_separated(write_run, "plain", separate=None, recipe={"width": 3})
    assert json.loads(CliRunner().invoke(app, ["results", "plain", "--json"]).stdout)["separations"] == []
    document = json.loads(CliRunner().invoke(app, ["results", "run", "--json"]).stdout)
    assert document["schema_version"] == 1
    (found,) = document["separations"]
    (pair,) = found.pop("pairs")
    assert found == {"run": "run", "points": 0.3, "max_seeds": 20, "dropped": 0}
    assert pair.pop("difference") == pytest.approx(np.mean(AHEAD[:4]))
    listed = {lr: [row["trial"] for row in document["trials"] if row["lr"] == lr] for lr in (0.1, 0.2)}
    assert sorted(pair.pop("first_trials")) == sorted(listed[0.1])
    assert sorted(pair.pop("second_trials")) == sorted(listed[0.2])
    assert pair == {"first": "lr=0.1", "second": "lr=0.2", "answer": "ahead", "seeds": 4}
    both = CliRunner().invoke(app, ["results", "run", "plain", "--json"]).stdout
    (found,) = json.loads(both)["separations"]
    assert {trial for pair in found["pairs"] for trial in pair["first_trials"]} <= {
        row["trial"] for row in json.loads(both)["trials"]
    }


def test_max_seeds_alone_is_refused() -> None:
    refused = CliRunner().invoke(app, ["compare", "quick", "--no-asha", "--max-seeds", "5"])
    assert refused.exit_code == 2
    assert "add --until-separated" in refused.stderr


@pytest.mark.parametrize("points", ["0", "-1", "nan"])
def test_a_gap_that_is_none_is_refused(points: str) -> None:
    refused = CliRunner().invoke(app, ["compare", "quick", "--no-asha", "--until-separated", points])
    assert refused.exit_code == 2
    assert "points" in refused.stderr
