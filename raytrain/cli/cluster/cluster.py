"""The commands about clusters: `cluster`, `submit`, `jobs`, `logs`, `stop` and `pull`. As in `cli`, no logic."""

# The imports inside functions load pyarrow and Ray: at the top they would make `raytrain --help` take seconds more.

import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from raytrain.cli.confirmation import confirmed
from raytrain.cli.experiment.new import template
from raytrain.cli.options import Json, is_given
from raytrain.cli.text_option import text_option
from raytrain.errors import ExperimentError, counted
from raytrain.execution.interruption import exit_code
from raytrain.report.document import document
from raytrain.report.text.columns import as_text, terminal_width
from raytrain.report.text.quantities import clock
from raytrain.report.text.visible import coloured, in_one_line, quoted, visible

if TYPE_CHECKING:
    from raytrain.cluster.jobs import Job

Dashboard = Annotated[
    str | None,
    text_option(
        "--address",
        metavar="URL",
        show_default="$RAY_API_SERVER_ADDRESS, $RAY_ADDRESS, http://127.0.0.1:8265",
        help="URL of the cluster's dashboard.",
    ),
]
Insecure = Annotated[bool, typer.Option("--insecure", help="Connect to another host even without a token.")]
ClusterPath = Annotated[
    Path, typer.Argument(metavar="FILE", show_default=False, help="Cluster file for `ray up`, such as cluster.yaml.")
]
JobName = Annotated[str, typer.Argument(metavar="JOB", show_default=False, help="Name of the job.")]


def add_commands(app: typer.Typer) -> None:
    """Give `app` the commands of this module."""
    app.command(context_settings={"allow_interspersed_args": False})(submit)
    for command in (jobs, logs, stop, pull):
        app.command()(command)
    cluster = typer.Typer(help="Write and check cluster files; start and stop a cluster.", no_args_is_help=True)
    for command in (template, check, up, down, status):
        cluster.command()(command)
    app.add_typer(cluster, name="cluster")


def submit(
    context: typer.Context,
    command: Annotated[
        list[str],
        typer.Argument(
            metavar="-- compare|tune|train ...", show_default=False, help="Command to run, as you would type it here."
        ),
    ],
    address: Dashboard = None,
    wait: Annotated[
        bool, typer.Option("--wait/--detach", help="Follow the job until it ends, or only start it.")
    ] = True,
    name: Annotated[
        str | None,
        text_option(help="Name of the job.", show_default="the experiment's name and a suffix"),
    ] = None,
    send: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="PATH", show_default=False, help="File or folder to send with the job, such as data. Repeatable."
        ),
    ] = None,
    install: Annotated[
        bool, typer.Option("--install", help="Install raytrain's requirements on the nodes with uv.")
    ] = False,
    out: Annotated[str, text_option(metavar="DIR", help="Local folder to copy the run folder to.")] = "runs",
    insecure: Insecure = False,
    json: Json = False,
) -> None:
    """Run a command on a Ray cluster as a job, and exit with the exit code of the job.

    raytrain and the experiment file are sent with the command.
    Without `--out` in the command, the cluster keeps the run folder.
    `--wait` then copies it to this machine at the end.
    """
    from raytrain.cli.cluster.submit import submission_of
    from raytrain.cluster.jobs import Jobs
    from raytrain.cluster.submission import folder_here, follow_home

    given = is_given(context, "out")
    if given and not wait:
        raise ExperimentError(
            "--detach and --out were given, and --out says where --wait copies the run folder to; give one of them. "
            "`raytrain pull JOB --out DIR` copies it later"
        )
    folder_here(out)  # before anything is sent, not when the job has ended
    submission = submission_of(context, command, name=name, send=send or [], install=install)
    if given and submission.out:
        _say("--out before the command: without effect, because the command has an --out of its own")
    cluster = Jobs(address, insecure=insecure)
    with submission.package() as package:
        typer.echo(f"raytrain: sending {package} to {cluster.address}", err=True)
        submission.submit(cluster, package)
    if not wait:
        _print(cluster.get(submission.job), json=json)
        typer.echo(f"Follow it with: raytrain logs -f {quoted(submission.job)}", err=True)
        return
    try:
        job = cluster.follow(submission.job, _to_stderr)
    except KeyboardInterrupt as interrupt:
        typer.echo(
            f"raytrain: the job is still running. Follow it with: raytrain logs -f {submission.job}; "
            f"stop it with: raytrain stop {submission.job}",
            err=True,
        )
        raise typer.Exit(exit_code(interrupt)) from None
    if json:
        _print(job, json=True)
    follow_home(cluster, submission, job, out=out, say=_say)
    raise typer.Exit(job.end_code)


def jobs(address: Dashboard = None, insecure: Insecure = False, json: Json = False) -> None:
    """List the jobs of a cluster, latest first."""
    from raytrain.cluster.jobs import Jobs

    found = Jobs(address, insecure=insecure).all()
    if json:
        _print_json({"jobs": [job.as_dict() for job in found]})
    elif found:
        typer.echo(job_table([job.as_dict() for job in found], width=terminal_width()), nl=False)
    else:
        typer.echo("no job has been submitted to this cluster", err=True)


def logs(
    job: JobName,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Follow the log until the job ends, and exit with its exit code.")
    ] = False,
    address: Dashboard = None,
    insecure: Insecure = False,
    json: Json = False,
) -> None:
    """Print the output of a job."""
    from raytrain.cluster.jobs import Jobs

    cluster = Jobs(address, insecure=insecure)
    if follow:
        cluster.get(job)
        ended = cluster.follow(job, _to_stderr if json else _to_stdout)
        if json:
            _print(ended, json=True)
        raise typer.Exit(ended.end_code)
    text = cluster.log(job)
    if json:
        _print_json(cluster.get(job).as_dict() | {"log": text})
    else:
        _to_stdout(text)


def stop(job: JobName, address: Dashboard = None, insecure: Insecure = False, json: Json = False) -> None:
    """Stop a job after it has saved its trials. If you submit its command again, the run continues."""
    from raytrain.cluster.jobs import Jobs

    found = Jobs(address, insecure=insecure).stop(job)
    _print(found, json=json)
    if not found.ended:
        _say(f"{job} is still {found.status}; it stops when its environment is ready")


def pull(
    run: Annotated[
        str, typer.Argument(metavar="URI|JOB", show_default=False, help="URI of a run folder, or name of a job.")
    ],
    out: Annotated[str, text_option(metavar="DIR", envvar="RAYTRAIN_OUT", help="Local folder to copy it to.")] = "runs",
    address: Dashboard = None,
    insecure: Insecure = False,
    json: Json = False,
) -> None:
    """Copy a run folder to this machine, from shared storage (only new files) or from the cluster that ran a job."""
    from raytrain.cluster.submission import pull_run

    folder, pulled = pull_run(run, out=out, address=address, insecure=insecure)
    if json:
        _print_json({"run_folder": str(folder), **pulled})
    else:
        typer.echo(
            f"{folder}: {counted(pulled['files'], 'file')} copied ({pulled['size'] / 2**20:.1f} MiB), "
            f"{pulled['unchanged']} had not changed"
        )


def check(file: ClusterPath) -> None:
    """Check a cluster file by the rules of raytrain and of Ray; it needs no network."""
    from raytrain.cluster import launch
    from raytrain.cluster.file import read_cluster_file
    from raytrain.cluster.prices import price_list

    cluster = read_cluster_file(file)
    launch.check(cluster)
    typer.echo(f"{file}: no problems found\n{price_list(cluster)}".rstrip())


def up(
    file: ClusterPath, yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False
) -> None:
    """Check a cluster file, show the price per hour, and run `ray up`."""
    from raytrain.cluster import launch
    from raytrain.cluster.file import read_cluster_file
    from raytrain.cluster.prices import price_list

    cluster = read_cluster_file(file)
    launch.check(cluster)
    if prices := price_list(cluster):
        typer.echo(prices, err=True)
    unanswered = "the cluster was not started, because nobody answered; --yes starts it without asking"
    if not confirmed("Start the cluster?", yes=yes, unanswered=unanswered):
        typer.echo("Nothing was started.", err=True)
        return
    launch.up(cluster, file)
    typer.echo(
        f"raytrain: the cluster is up. Open a tunnel with: ray dashboard {quoted(file)}; stop the cluster with: "
        f"raytrain cluster down {quoted(file)}",
        err=True,
    )


def down(file: ClusterPath) -> None:
    """Run `ray down`, and show how long the cluster ran."""
    from raytrain.cluster import launch
    from raytrain.cluster.file import read_cluster_file
    from raytrain.cluster.prices import price_list

    cluster = read_cluster_file(file)
    seconds = launch.down(cluster, file)
    ran = f"it ran for {clock(seconds)}" if seconds is not None else "its start is not known"
    typer.echo(f"raytrain: the cluster is down; {ran}", err=True)
    if prices := price_list(cluster):
        typer.echo(prices, err=True)


def status(file: ClusterPath) -> None:
    """Show the nodes of a cluster, as its head reports them."""
    from raytrain.cluster import launch
    from raytrain.cluster.file import read_cluster_file

    launch.status(read_cluster_file(file), file)


def _say(text: str) -> None:
    typer.echo(f"raytrain: {visible(text)}", err=True)


def _to_stdout(text: str) -> None:
    sys.stdout.write(coloured(text))
    sys.stdout.flush()


def _to_stderr(text: str) -> None:
    sys.stderr.write(coloured(text))
    sys.stderr.flush()


def _print(job: "Job", *, json: bool) -> None:
    if json:
        _print_json(job.as_dict())
    else:
        code = f"  exit code {job.exit_code}" if job.exit_code is not None else ""
        typer.echo(in_one_line(f"{job.id}  {job.status}{code}"))


def _print_json(values: Mapping[str, Any]) -> None:
    typer.echo(document(values), nl=False)


HEADINGS = ("job", "status", "exit", "started", "time", "command")


def job_table(jobs: Sequence[dict[str, Any]], *, width: int | None = None) -> str:
    """Return a line per job under a header; `started` is the local time.

    Args:
        jobs: Attributes of `raytrain.cluster.jobs.Job` by name.
        width: Width of the terminal in characters; None for a table as wide as it needs.
    """
    rows = [_row(job) for job in jobs]
    columns = {heading: [row[index] for row in rows] for index, heading in enumerate(HEADINGS)}
    return as_text(columns, left=HEADINGS, width=width)


def _row(job: dict[str, Any]) -> tuple[str, ...]:
    code = "" if job["exit_code"] is None else str(job["exit_code"])
    started = f"{datetime.fromtimestamp(job['started'], UTC).astimezone():%Y-%m-%d %H:%M}" if job["started"] else ""
    seconds = clock(job["seconds"]) if job["seconds"] is not None else ""
    return job["id"], job["status"], code, started, seconds, job["command"]
