"""`raytrain judge`: whether to keep a candidate against a base; one that is an experiment is trained for it."""

# The imports inside functions load NumPy, SciPy and pyarrow: at the top they would make `raytrain --help` take 3.2 s
# instead of 0.5 s.

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from raytrain.cli.completion import candidate_names, run_names
from raytrain.cli.options import (
    Address,
    Json,
    Local,
    Out,
    Quiet,
    TimeLimit,
    changes_of,
    experiment_of,
    is_given,
    warn_of_what_is_for_ray,
)
from raytrain.errors import ExitCode, ExperimentError, RunFolderError
from raytrain.experiment.shipped import SHIPPED
from raytrain.report.document import document
from raytrain.report.text.visible import in_one_line, visible
from raytrain.storage.typed_path import is_a_folder

if TYPE_CHECKING:
    from raytrain.comparison.judge import Verdict
    from raytrain.comparison.referee import Referee
    from raytrain.execution.options import RunOptions
    from raytrain.execution.run import RunOutcome, Shown
    from raytrain.experiment.experiment import Experiment

OF_TRAINING = ("max_seeds", "address", "local", "time_limit")
"""Names of parameters that say how an experiment is trained."""


def add_commands(app: typer.Typer) -> None:
    """Add `judge` to the application."""
    app.command()(judge)


def judge(
    ctx: typer.Context,
    base: Annotated[
        str,
        typer.Argument(
            metavar="BASE", autocompletion=run_names, help="Name, folder or URI of the run to compare with."
        ),
    ],
    candidate: Annotated[
        str,
        typer.Argument(
            metavar="CANDIDATE",
            autocompletion=candidate_names,
            help="Name, folder or URI of the candidate's run; or its experiment, a YAML file or the name of a shipped "
            "one, which is then trained.",
        ),
    ],
    margin: Annotated[
        float, typer.Option(metavar="POINTS", min=0, max=100, help="Smallest gain in accuracy that matters, in points.")
    ] = 0.2,
    max_seeds: Annotated[
        int, typer.Option(min=1, help="Most paired seeds with which CANDIDATE is trained, if it is an experiment.")
    ] = 20,
    out: Out = "runs",
    address: Address = None,
    local: Local = False,
    time_limit: TimeLimit = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Say whether to keep a candidate, to drop it (exit code 9), or to train more seeds of both (exit code 10).

    You may ask after every seed. On average at most 5 % of kept candidates are no better than their base, if
    differences between seeds are roughly normal; seeds that rarely end far lower raise this share.

    A candidate that is an experiment is trained first, on the seeds of BASE, one after the other until there is an
    answer. The same command continues it.
    """
    from raytrain.analysis.record import read_record
    from raytrain.cli import output
    from raytrain.comparison.referee import Referee
    from raytrain.execution.options import RunOptions
    from raytrain.runs.folder import open_run, resolved
    from raytrain.storage.folder import Folder

    folder = open_run(base, out=out)
    session = Folder.at(out if is_given(ctx, "out") else resolved(folder).parent)
    experiment = _experiment(candidate, out)
    if experiment is None:
        _refuse_options_of_training(ctx, candidate)
        candidate_run = open_run(candidate, out=out)
        verdict = Referee(read_record(folder), session, margin=margin / 100).look(read_record(candidate_run))
        with output.tolerant_output():  # the judgement is stored
            _print(verdict, json=json)
        raise typer.Exit(_code(verdict))
    referee = Referee(read_record(folder), session, margin=margin / 100, max_seeds=max_seeds)
    outcome = _train(ctx, referee, experiment, RunOptions(out, address, local, time_limit_s=time_limit), quiet=quiet)
    if outcome.interrupted:
        output.say_interrupted(outcome)
        code = outcome.exit_code
    else:
        output.say_errors(outcome)
        verdict = referee.verdict or referee.look(outcome.record)
        with output.tolerant_output():  # the judgement is stored
            _print(verdict, json=json)
        if not quiet:
            if verdict.decision.answer == "more seeds":
                typer.echo(visible(referee.why_no_more(verdict)), err=True)
            typer.echo(f"{in_one_line(str(outcome.folder))} is the run of the candidate.", err=True)
        code = _code(verdict)
    if outcome.ray_lost:
        output.leave(code)
    raise typer.Exit(code)


def _experiment(candidate: str, out: str) -> "Experiment | None":
    """Return the experiment that a candidate is; None for a run.

    A shipped experiment of one configuration is one, unless its name is that of a run of other recipes. So the same
    command goes on with the run that it has begun.

    Raises:
        ExperimentError: It is invalid, or has several configurations.
    """
    shipped = candidate in SHIPPED
    if not shipped and (not candidate.endswith((".yaml", ".yml")) or is_a_folder(candidate) or "://" in candidate):
        return None
    # early stopping would end seeds, and fresh seeds are those of the base
    changes = changes_of(None, workers=None, gpus=None, no_asha=True) | {"confirm": None, "separate": None}
    experiment = experiment_of(Path(candidate), None, changes)
    recipes = [trial.recipe for trial in experiment.trials()]
    digests = {recipe.digest_without_seed for recipe in recipes}
    if shipped and (there := _digests_of_run(candidate, out)) and (len(digests) > 1 or there != digests):
        return None
    if len(digests) > 1 or experiment.samples_proposed:
        from raytrain.runs.results import varied_fields

        fields = [recipe.model_dump() for recipe in recipes]
        archs = ["arch"] if len({recipe.arch for recipe in recipes}) > 1 else []
        raise ExperimentError(
            f"{candidate} has {len(digests)} configurations, which differ in {', '.join(archs + varied_fields(fields))}"
            "; judge takes one. Train them with `raytrain compare`, then judge the run: validation chooses one there."
        )
    return experiment


def _digests_of_run(name: str, out: str) -> set[str]:
    """Return the digests of the configurations of a run; none where there is no such run."""
    from raytrain.experiment.reading import read_run
    from raytrain.runs.folder import open_run

    try:
        folder = open_run(name, out=out)
    except RunFolderError:
        return set()
    return {trial.recipe.digest_without_seed for trial in read_run(folder).trials()}


def _refuse_options_of_training(ctx: typer.Context, candidate: str) -> None:
    given = [name.replace("_", "-") for name in OF_TRAINING if is_given(ctx, name)]
    if given:
        raise ExperimentError(
            f"--{given[0]} says how an experiment is trained, and {candidate} is a run; leave it out, or give the "
            "candidate's experiment file"
        )


def _train(
    ctx: typer.Context, referee: "Referee", experiment: "Experiment", options: "RunOptions", *, quiet: bool
) -> "RunOutcome":
    """Train a candidate with the seeds of the base, until there is an answer or no further seed."""
    from raytrain.cli.experiment.run import with_progress
    from raytrain.execution.run import run
    from raytrain.runs.folder import is_same_folder
    from raytrain.storage.folder import Folder

    folder = Folder.at(options.out) / experiment.name
    if is_same_folder(folder, referee.base.folder):
        raise ExperimentError(
            f"the experiment would be trained into {folder}, which is BASE; give it another `name` in its file"
        )
    experiment = experiment.replace(seeds=tuple(referee.first_seeds(folder)))

    def run_it(shown: "Shown") -> "RunOutcome":
        warn_of_what_is_for_ray(ctx)
        first = experiment.trials()[0]
        referee.refuse_other_images(experiment.name, first.recipe, first.recipe.data_key.load(quiet=True))
        if not quiet:
            listed = ", ".join(map(str, experiment.seeds or ()))
            name, base = in_one_line(experiment.name), in_one_line(referee.base.name)
            typer.echo(
                f"raytrain: the candidate {name} begins with the seeds {listed}, and gets one seed of {base} after the "
                f"other until there is an answer, at most {referee.max_seeds}",
                err=True,
            )
        return run(experiment, options, shown=shown, further=referee.next_seeds)

    return with_progress(run_it, quiet=quiet)


def _print(verdict: "Verdict", *, json: bool) -> None:
    typer.echo(document(verdict.as_json()) if json else "\n".join([*verdict.sentences(), ""]), nl=False)


def _code(verdict: "Verdict") -> ExitCode:
    return {
        "keep": ExitCode.DONE,
        "drop": ExitCode.ASSERTION_FAILED,
        "more seeds": ExitCode.UNDECIDED,
    }[verdict.decision.answer]
