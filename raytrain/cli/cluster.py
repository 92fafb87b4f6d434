"""The commands about clusters: `cluster`, `submit`, `jobs`, `logs`, `stop` and `pull`. As in `cli`, no logic."""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from raytrain.cli.options import Json, Out
from raytrain.report.text import as_text, clock

if TYPE_CHECKING:
    from raytrain.cluster.jobs import Job

Dashboard = Annotated[
    str | None,
    typer.Option(
        "--address",
        metavar="URL",
        show_default=False,
        help="The cluster's dashboard.  [default: $RAY_API_SERVER_ADDRESS, $RAY_ADDRESS, http://127.0.0.1:8265]",
    ),
]
Insecure = Annotated[bool, typer.Option("--insecure", help="Talk to another host even without a token.")]
ClusterPath = Annotated[
    Path, typer.Argument(metavar="FILE", show_default=False, help="A file for `ray up`, such as cluster.yaml.")
]
JobName = Annotated[str, typer.Argument(metavar="JOB", show_default=False)]


def add_commands(app: typer.Typer) -> None:
    """Give `app` the commands of this module."""
    app.command(context_settings={"allow_interspersed_args": False})(submit)
    for command in (jobs, logs, stop, pull):
        app.command()(command)
    cluster = typer.Typer(help="Check a cluster file, and start and end the cluster.", no_args_is_help=True)
    for command in (check, up, down, status):
        cluster.command()(command)
    app.add_typer(cluster, name="cluster")


def submit(
    context: typer.Context,
    command: Annotated[
        list[str],
        typer.Argument(
            metavar="-- compare|tune|train ...", show_default=False, help="The command, as you would type it here."
        ),
    ],
    address: Dashboard = None,
    wait: Annotated[bool, typer.Option("--wait/--detach", help="Follow the job to its end, or only start it.")] = True,
    name: Annotated[
        str | None, typer.Option(help="Name of the job.  [default: the experiment's, and a suffix]", show_default=False)
    ] = None,
    send: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="PATH", show_default=False, help="A file or folder to take along, such as data. Repeatable."
        ),
    ] = None,
    install: Annotated[
        bool, typer.Option("--install", help="Install raytrain's requirements on the nodes, with uv.")
    ] = False,
    out: Annotated[str, typer.Option(metavar="DIR", help="Where the run folder comes home to.")] = "runs",
    insecure: Insecure = False,
    json: Json = False,
) -> None:
    """Run a command on a Ray cluster, as a job; its exit code is this one's.

    The command's experiment file and raytrain itself travel with it. Without `--out` in the command, the head keeps
    the run folder and `--wait` brings it home.
    """
    from raytrain.cli.submit import submission_of
    from raytrain.cluster.jobs import Jobs
    from raytrain.cluster.submission import follow_home

    submission = submission_of(context, command, name=name, send=send or [], install=install)
    cluster = Jobs(address, insecure=insecure)
    with submission.package() as package:
        typer.echo(f"raytrain: sending {package} to {cluster.address}", err=True)
        submission.submit(cluster, package)
    if not wait:
        _print(cluster.get(submission.job), json=json)
        typer.echo(f"Follow it with: raytrain logs -f {submission.job}", err=True)
        return
    try:
        job = cluster.follow(submission.job, _to_stderr)
    except KeyboardInterrupt:
        typer.echo(
            f"raytrain: the job goes on. Follow it with: raytrain logs -f {submission.job}; "
            f"end it with: raytrain stop {submission.job}",
            err=True,
        )
        raise typer.Exit(130) from None
    if json:
        _print(job, json=True)
    follow_home(cluster, submission, job, out=out, say=lambda text: typer.echo(f"raytrain: {text}", err=True))
    raise typer.Exit(job.end_code)


def jobs(address: Dashboard = None, insecure: Insecure = False, json: Json = False) -> None:
    """List the jobs of a cluster, the latest first."""
    from raytrain.cluster.jobs import Jobs

    found = Jobs(address, insecure=insecure).all()
    if json:
        _print_json([job.as_dict() for job in found])
    elif found:
        from raytrain.cli.cluster import job_table

        typer.echo(job_table([job.as_dict() for job in found]), nl=False)
    else:
        typer.echo("no job has been submitted to this cluster", err=True)


def logs(
    job: JobName,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the job ends; its exit code is this one's.")
    ] = False,
    address: Dashboard = None,
    insecure: Insecure = False,
    json: Json = False,
) -> None:
    """Print what a job has printed."""
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
    """Have a job save its trials and end; the same command, submitted again, goes on."""
    from raytrain.cluster.jobs import Jobs

    found = Jobs(address, insecure=insecure).stop(job)
    _print(found, json=json)
    if not found.ended:
        typer.echo(f"raytrain: {job} is still {found.status}; it ends once its environment is prepared", err=True)


def pull(
    run: Annotated[
        str, typer.Argument(metavar="URI|JOB", show_default=False, help="A run folder in shared storage, or a job.")
    ],
    out: Out = "runs",
    address: Dashboard = None,
    insecure: Insecure = False,
    json: Json = False,
) -> None:
    """Bring a run folder here: from shared storage only what is new, or from the head of a one-node cluster."""
    from raytrain.cluster.submission import pull_run

    folder, pulled = pull_run(run, out=out, address=address, insecure=insecure)
    if json:
        _print_json({"run_folder": str(folder), **pulled})
    else:
        typer.echo(
            f"{folder}: {pulled['files']} files brought ({pulled['size'] / 2**20:.1f} MiB), "
            f"{pulled['unchanged']} had not changed"
        )


def check(file: ClusterPath) -> None:
    """Check a cluster file by raytrain's rules and by Ray's own, offline."""
    from raytrain.cluster import launch
    from raytrain.cluster.file import read_cluster_file
    from raytrain.cluster.prices import describe, node_prices

    cluster = read_cluster_file(file)
    launch.check(cluster)
    typer.echo(f"{file}: nothing found\n{describe(node_prices(cluster))}".rstrip())


def up(file: ClusterPath, yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False) -> None:
    """Check a cluster file, say what an hour costs, and run `ray up`."""
    from raytrain.cluster import launch
    from raytrain.cluster.file import read_cluster_file
    from raytrain.cluster.prices import describe, node_prices

    cluster = read_cluster_file(file)
    launch.check(cluster)
    if prices := describe(node_prices(cluster)):
        typer.echo(prices, err=True)
    if not yes and not typer.confirm("Start it?", err=True):
        raise typer.Exit(0)
    launch.up(cluster, file)
    typer.echo(
        f"raytrain: the cluster is up. Tunnel to it: ray dashboard {file}   End it: raytrain cluster down {file}",
        err=True,
    )


def down(file: ClusterPath) -> None:
    """Run `ray down`, and say how long the cluster ran."""
    from raytrain.cluster import launch
    from raytrain.cluster.file import read_cluster_file
    from raytrain.cluster.prices import describe, node_prices
    from raytrain.report.text import clock

    cluster = read_cluster_file(file)
    seconds = launch.down(cluster, file)
    ran = f"after {clock(seconds)}" if seconds is not None else "; it was not started from here"
    typer.echo(f"raytrain: the cluster is down {ran}".replace(" ;", ";"), err=True)
    if prices := describe(node_prices(cluster)):
        typer.echo(prices, err=True)


def status(file: ClusterPath) -> None:
    """Print which nodes a cluster has, as its head says."""
    from raytrain.cluster import launch
    from raytrain.cluster.file import read_cluster_file

    launch.status(read_cluster_file(file), file)


def _to_stdout(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _to_stderr(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()


def _print(job: "Job", *, json: bool) -> None:
    if json:
        _print_json(job.as_dict())
    else:
        typer.echo(f"{job.id}  {job.status}" + (f"  exit code {job.exit_code}" if job.exit_code is not None else ""))


def _print_json(content: object) -> None:
    import json

    typer.echo(json.dumps(content, indent=2))


HEADINGS = ("job", "status", "exit", "started", "time", "command")


def job_table(jobs: Sequence[dict[str, Any]]) -> str:
    """Return a line per job under a header; `started` is the local time.

    Args:
        jobs: Attributes of `raytrain.cluster.jobs.Job` by name.
    """
    rows = [_row(job) for job in jobs]
    columns = {heading: [row[index] for row in rows] for index, heading in enumerate(HEADINGS)}
    return as_text(columns, left=HEADINGS)


def _row(job: dict[str, Any]) -> tuple[str, ...]:
    code = "" if job["exit_code"] is None else str(job["exit_code"])
    started = f"{datetime.fromtimestamp(job['started'], UTC).astimezone():%Y-%m-%d %H:%M}" if job["started"] else ""
    seconds = clock(job["seconds"]) if job["seconds"] is not None else ""
    return job["id"], job["status"], code, started, seconds, job["command"]
