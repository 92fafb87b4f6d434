"""Tests of raytrain.comparison.judge: what is kept and dropped, what goes on from before, what is refused."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from typer.testing import CliRunner

from raytrain.analysis.record import read_record
from raytrain.analysis.statistics.sequential import Differences, online_level
from raytrain.cli.app import app
from raytrain.comparison.judge import decide
from raytrain.comparison.referee import Referee
from raytrain.comparison.shared_seeds import shared_seeds
from raytrain.comparison.verdicts import Judgement, add_judgement, read_judgements
from raytrain.errors import ExperimentError
from raytrain.experiment.experiment import Experiment
from raytrain.runs.results import TrialResult
from raytrain.runs.writing.resume import refuse_other_experiment
from raytrain.storage.folder import Folder

LEVEL = online_level(1, 0)


def gains(*values: float) -> Differences:
    return Differences(np.array(values), np.zeros(len(values)))


def rows(*counts: int) -> list[range]:
    """Return that the first so many images are right, by seed."""
    return [range(count) for count in counts]


WriteRun = Callable[..., None]


@pytest.fixture
def write(write_run: WriteRun) -> WriteRun:
    """Return a function that writes a run of one configuration, by the number of images that each seed gets right."""

    def write(name: str, counts: Sequence[int], *, lr: float, **keys: Any) -> None:
        write_run(name, rows(*counts), seeds=list(range(len(counts))), recipe={"lr": lr}, **keys)

    return write


def judged(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["judge", *arguments])


def as_json(*arguments: str) -> dict[str, Any]:
    return json.loads(judged(*arguments, "--json").stdout)


BASE = (900, 903, 899, 902, 901, 898)
BETTER = (918, 921, 916, 921, 920, 915)
WORSE = (884, 885, 881, 887, 884, 880)
SOMEHOW = (904, 899, 905, 897, 903, 900)


def test_a_gain_that_is_shown_is_kept_and_one_below_the_margin_dropped() -> None:
    gain = (0.018, 0.019, 0.017, 0.02, 0.018)
    assert decide(gains(*gain), margin=0.002, level=LEVEL).answer == "keep"
    assert decide(gains(*(-one for one in gain)), margin=0.002, level=LEVEL).answer == "drop"
    undecided = decide(gains(0.01, -0.008, 0.004), margin=0.002, level=LEVEL)
    assert (undecided.answer, undecided.seeds) == ("more seeds", 3)


def test_a_decision_stands_whatever_later_seeds_say() -> None:
    first = gains(0.018, 0.019, 0.017, 0.02, 0.018)
    later = gains(*first.values, -0.05, -0.05, -0.05)
    assert decide(later, margin=0.002, level=LEVEL) == decide(first, margin=0.002, level=LEVEL)


@pytest.mark.parametrize(
    ("counts", "verdict", "code"), [(BETTER, "keep", 0), (WORSE, "drop", 9), (SOMEHOW, "more seeds", 10)]
)
def test_the_exit_code_says_the_verdict(write: WriteRun, counts: tuple[int, ...], verdict: str, code: int) -> None:
    write("base", BASE, lr=0.1)
    write("idea", counts, lr=0.2)
    answer = judged("base", "idea")
    lines = answer.stdout.splitlines()
    assert (answer.exit_code, len(lines)) == (code, 3)
    assert verdict in lines[0]
    said = as_json("base", "idea")
    assert (said["verdict"], said["why"]) == (verdict, lines[1:])
    assert said["mean_difference"] == pytest.approx((sum(counts) - sum(BASE)) / 6000)


def test_judging_again_with_more_seeds_goes_on_with_the_same_level(
    tmp_path: Path, write: WriteRun, write_run: WriteRun
) -> None:
    write("base", BASE, lr=0.1)
    write_run("idea", rows(915, 921), recipe={"lr": 0.2}, seeds=[3, 4])
    assert judged("base", "idea").exit_code == 10
    write("other", SOMEHOW, lr=0.3)
    assert as_json("base", "other")["position"] == 2
    (tmp_path / "idea").rename(tmp_path / "before")
    write_run("idea", rows(915, 921, 918), recipe={"lr": 0.2}, seeds=[3, 4, 0])
    again = as_json("base", "idea")
    assert (again["position"], again["e_value_needed"]) == (1, pytest.approx(1 / LEVEL))
    assert again["seeds"] == [3, 4, 0]


def test_a_run_that_was_trained_anew_is_another_candidate(tmp_path: Path, write: WriteRun) -> None:
    write("base", BASE, lr=0.1)
    write("idea", SOMEHOW, lr=0.2)
    assert as_json("base", "idea")["position"] == 1
    (tmp_path / "idea").rename(tmp_path / "before")
    write("idea", BETTER, lr=0.2)
    assert as_json("base", "idea")["position"] == 2


def test_each_kept_candidate_raises_the_level_of_those_after_it(write: WriteRun) -> None:
    write("base", BASE, lr=0.1)
    write("first", BETTER, lr=0.2)
    write("second", SOMEHOW, lr=0.3)
    assert judged("base", "first").exit_code == 0
    assert as_json("base", "second")["e_value_needed"] == pytest.approx(1 / online_level(2, 1))


def test_two_runs_of_one_recipe_are_compared_each_by_its_own_predictions(write: WriteRun) -> None:
    write("base", BASE, lr=0.1)
    write("changed-code", BETTER, lr=0.1)
    assert judged("base", "changed-code").exit_code == 0


def test_of_a_run_the_configuration_is_judged_that_validation_chooses(write: WriteRun, write_run: WriteRun) -> None:
    write("base", (900, 901), lr=0.1)
    grid = [range(count) for count in (910, 930, 912, 933)]
    write_run("grid", grid, grid={"lr": [0.2, 0.3]}, seeds=[0, 1])
    assert as_json("base", "grid")["differences"] == pytest.approx([0.03, 0.032])


def test_the_session_lies_beside_the_base_also_if_the_runs_are_given_by_path(
    tmp_path: Path, write: WriteRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("base", BASE, lr=0.1)
    write("first", SOMEHOW, lr=0.2)
    write("second", SOMEHOW, lr=0.3)
    assert as_json("base", "first")["position"] == 1
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.delenv("RAYTRAIN_OUT")
    assert as_json("../base", str(tmp_path / "second"))["position"] == 2
    assert list((tmp_path / "elsewhere").iterdir()) == []
    # a base in a folder that others own: the session may lie elsewhere
    assert as_json("../base", str(tmp_path / "second"), "--out", ".")["position"] == 1
    assert [path.name for path in (tmp_path / "elsewhere").iterdir()] == ["verdicts.jsonl"]


def test_the_session_lies_beside_the_base_itself_and_not_beside_a_link_to_it(
    tmp_path: Path, write: WriteRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAYTRAIN_OUT")
    write("base", BASE, lr=0.1)
    write("first", SOMEHOW, lr=0.2)
    write("second", SOMEHOW, lr=0.3)
    (tmp_path / "links").mkdir()
    link = tmp_path / "links" / "base"
    link.symlink_to(tmp_path / "base")
    assert as_json(str(tmp_path / "base"), str(tmp_path / "first"))["position"] == 1
    assert as_json(str(link), str(tmp_path / "second"))["position"] == 2
    assert [path.name for path in (tmp_path / "links").iterdir()] == ["base"]


def test_the_same_runs_are_known_however_their_paths_are_spelled(
    tmp_path: Path, write: WriteRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place, counts, lr in (("a", BASE, 0.1), ("b", SOMEHOW, 0.2)):
        write("net", counts, lr=lr)
        (tmp_path / place).mkdir()
        (tmp_path / "net").rename(tmp_path / place / "net")
    (tmp_path / "link").symlink_to(tmp_path / "b" / "net")
    first = as_json("a/net", "b/net")
    folders = [str(tmp_path.resolve() / place / "net") for place in "ab"]
    assert (first["position"], first["base"], first["candidate"]) == (1, *folders)
    monkeypatch.chdir(tmp_path / "b")
    assert as_json("../a/net", "./net") == as_json("../b/../a/net", "../link") == first


@pytest.mark.parametrize("candidate", ["base", "idea/../base", "link"])
def test_a_run_is_not_judged_against_itself(tmp_path: Path, write: WriteRun, candidate: str) -> None:
    write("base", BASE, lr=0.1)
    write("idea", SOMEHOW, lr=0.2)
    (tmp_path / "link").symlink_to(tmp_path / "base")
    answer = judged("base", candidate)
    assert (answer.exit_code, "base is both BASE and CANDIDATE; give two runs" in answer.stderr) == (2, True)
    assert not (tmp_path / "verdicts.jsonl").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"differences": [float("nan")] * len(BASE)},
        {"differences": ["0.1"] * len(BASE)},
        {"differences": []},
        {"seeds": 7},
        {"trials": ["x"]},
        {"position": "first"},
        {"level": None},
        {"later": 1},
        [1, 2],
    ],
)
def test_a_damaged_session_is_one_message_and_stays_as_it_is(
    change: dict[str, Any] | list[int], tmp_path: Path, write: WriteRun
) -> None:
    write("base", BASE, lr=0.1)
    write("changed", SOMEHOW, lr=0.2)
    assert as_json("base", "changed")["position"] == 1
    file = tmp_path / "verdicts.jsonl"
    line = json.loads(file.read_text())
    file.write_text(json.dumps({**line, **change} if isinstance(change, dict) else change) + "\n")
    before = file.read_bytes()
    refused = judged("base", "changed")
    assert isinstance(refused.exception, SystemExit), refused.exception
    assert (refused.exit_code, "verdicts.jsonl" in refused.stderr) == (2, True)
    assert file.read_bytes() == before


def test_other_test_sets_are_refused(tmp_path: Path, write: WriteRun, write_run: WriteRun) -> None:
    write("base", BASE, lr=0.1)
    write("elsewhere", BASE, lr=0.1, fingerprint="g")
    write_run("fewer", rows(90, 91), images=100, recipe={"lr": 0.2}, seeds=[0, 1])
    write_run("split", rows(90, 91), recipe={"lr": 0.2, "test_size": 0.3}, seeds=[0, 1], fingerprint="s")
    write_run("without", rows(90, 91), recipe={"lr": 0.2, "skip_bad": True}, seeds=[0, 1], fingerprint="w")
    write_run("digits", rows(90, 91), recipe={"dataset": "digits"}, seeds=[0, 1], fingerprint="h")
    for name, what in [
        ("elsewhere", "has changed between"),
        ("fewer", "1000 images and fewer on 100"),
        ("split", "base has test_size 0.2 and split has 0.3"),
        ("without", "base has skip_bad False and without has True"),
        ("digits", "different images"),
    ]:
        refused = judged("base", name)
        assert refused.exit_code == 2
        assert what in refused.stderr
    assert not (tmp_path / "verdicts.jsonl").exists()


@pytest.mark.parametrize("field", [{"test_size": 0.3}, {"skip_bad": True}, {"follow_links": True}])
def test_what_leaves_the_fingerprint_as_it_is_makes_no_other_test_set(
    write_run: WriteRun, field: dict[str, Any]
) -> None:
    """A data set with a test part of its own, without images that cannot be read, and without links out of it."""
    write_run("base", rows(*BASE), recipe={"lr": 0.1}, seeds=list(range(6)))
    write_run("idea", rows(*BETTER), recipe={"lr": 0.2} | field, seeds=list(range(6)))
    assert as_json("base", "idea")["verdict"] == "keep"


def test_seeds_that_are_missing_are_refused(write: WriteRun, write_run: WriteRun) -> None:
    write("base", BASE, lr=0.1)
    write_run("alone", rows(900), recipe={"lr": 0.2}, seeds=[17])
    write("failed", (900, 901, 902), lr=0.2, statuses=["finished", "failed", "finished"])
    write("stopped", (900, 901, 902), lr=0.2, statuses=["finished", "stopped", "finished"])
    for name, what in [
        ("alone", "train alone with --seeds 0,1,2,3,4,5,17"),
        ("failed", "seed 1 of failed has failed"),
        ("failed", "raytrain resume failed --failed-only"),
        ("stopped", "train all seeds to the end under another name, with --no-asha"),
        ("base", "give two runs"),
    ]:
        refused = judged("base", name)
        assert refused.exit_code == 2
        assert what in refused.stderr


def test_the_seeds_that_judge_advises_can_be_trained_under_the_same_name(
    tmp_path: Path, write: WriteRun, write_run: WriteRun
) -> None:
    write("base", BASE, lr=0.1)
    write_run("alone", rows(900), recipe={"lr": 0.2}, seeds=[17])
    said = judged("base", "alone").stderr.split("--seeds ")[1].split()[0]
    advised = {"name": "alone", "recipe": {"lr": 0.2}, "seeds": [int(seed) for seed in said.split(",")]}
    refuse_other_experiment(Folder.at(str(tmp_path / "alone")), Experiment.model_validate(advised))


def test_of_runs_that_confirmed_their_choice_the_fresh_seeds_are_to_be_shared() -> None:
    def seeds(phase: str, *numbers: int) -> dict[int, TrialResult]:
        return {seed: TrialResult("a", "finished", {"seed": seed}, 1, 1, phase=phase) for seed in numbers}  # type: ignore[arg-type]

    for base, candidate, advice in [
        (seeds("confirm", 7, 8), seeds("confirm", 9), "give idea the `confirm.seeds` 7,8,9"),
        (seeds("search", 0, 1), seeds("confirm", 9), "train base with --seeds 0,1,9"),
        (seeds("confirm", 7, 8), seeds("search", 0), "train idea with --seeds 0,7,8"),
    ]:
        with pytest.raises(ExperimentError, match=advice):
            shared_seeds(("base", "idea"), base, candidate)


def test_a_larger_number_of_seeds_is_only_advised_where_the_base_has_more(tmp_path: Path, write: WriteRun) -> None:
    write("base", BASE, lr=0.1)
    for name, count, said in [
        ("fewer", 5, "--max-seeds 5 is reached; the same command with a larger number goes on."),
        (
            "all",
            6,
            "base has no other seeds. Train it with more --seeds, then repeat this command with a larger number ",
        ),
    ]:
        write(name, SOMEHOW[:count], lr=0.2)
        base, candidate = (read_record(Folder.at(str(tmp_path / run))) for run in ("base", name))
        referee = Referee(base, Folder.at(str(tmp_path)), margin=0.002, max_seeds=count)
        assert referee.why_no_more(referee.look(candidate)).startswith(said)


def test_two_equal_judgements_in_a_row_are_two_lines(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    session = Folder.at(str(tmp_path))
    judgement = Judgement(1, "base", "idea", 0.01, 0.002, [0], [["a", "b"]], [0.01], "more seeds")
    for _ in range(2):
        add_judgement(session, judgement)
    assert len(read_judgements(session)) == 2
    assert not caplog.records


def test_the_command_that_continues_a_run_can_be_pasted(tmp_path: Path, write: WriteRun) -> None:
    write("base", BASE, lr=0.1)
    write("idea", (900, 901, 902), lr=0.2, statuses=["finished", "failed", "finished"])
    (tmp_path / "idea").rename(tmp_path / "a;touch b")
    assert "raytrain resume 'a;touch b' --failed-only" in judged("base", "a;touch b").stderr


def test_without_predictions_the_accuracies_alone_are_compared(write: WriteRun) -> None:
    write("base", BASE, lr=0.1, predicted=False)
    write("idea", BETTER, lr=0.2, predicted=False)
    assert judged("base", "idea").exit_code == 0
