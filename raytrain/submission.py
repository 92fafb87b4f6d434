"""A command on its way to a cluster and its run folder on the way back."""

import os
import re
import tempfile
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import typer

from raytrain.errors import ExperimentError, JobError, RaytrainError
from raytrain.options import changes_of, experiment_of
from raytrain.packing import Package, with_path
from raytrain.pull import pull
from raytrain.run_archive import unpack
from raytrain.storage import Folder, refuse_credentials

if TYPE_CHECKING:
    from raytrain.cluster.jobs import Job, Jobs
    from raytrain.experiment import Experiment

COMMANDS = ("compare", "tune", "train")
"""What can be submitted."""
ON_EVERY_NODE = {"ray", "torch", "torchvision"}
"""Requirements that no job installs: a node is there to have them, in the build for its GPU."""


@dataclass(frozen=True)
class Submission:
    """A command that is to run on a cluster.

    Attributes:
        arguments: Its words, without `raytrain`.
        experiment: What it runs.
        file: The experiment file it names, or None.
        send: Files and folders that it takes along.
        out: Where it says that run folders are to be; None leaves it to the head.
        job: What the job is called.
        install: Requirements that the nodes have to install first.
    """

    arguments: tuple[str, ...]
    experiment: "Experiment"
    file: Path | None
    send: tuple[Path, ...]
    out: str | None
    job: str
    install: tuple[str, ...]

    @contextmanager
    def package(self) -> Generator[Package]:
        """Give the folder in which the command runs over there, for as long as the context lasts.

        Raises:
            PreflightError: It is too large, or something to send is not there.
        """
        with tempfile.TemporaryDirectory(prefix="raytrain-") as folder:
            package = Package(Path(folder))
            package.add_raytrain()
            for path in [*self.send, *([self.file] if self.file else [])]:
                package.add(path)
            package.check_size()
            yield package

    def submit(self, jobs: "Jobs", package: Package) -> None:
        """Start it."""
        words = self.arguments if self.file is None else with_path(self.arguments, self.file)
        jobs.submit(words, package, job=self.job, run=self.experiment.name, out=self.out, install=self.install)


def submission_of(
    context: typer.Context, command: Sequence[str], *, name: str | None, send: Sequence[Path], install: bool
) -> Submission:
    """Read a command as raytrain itself would, so that what is wrong with it is said here.

    Args:
        context: Of any command of raytrain's.
        command: Its words, with or without `raytrain` before them.
        name: What to call the job; None takes the experiment's name and a suffix.
        send: Files and folders to take along.
        install: Whether the nodes have to install raytrain's requirements.

    Raises:
        ExperimentError: It is none that can be submitted, its experiment is invalid, or it names what a cluster
            cannot see.
    """
    words = list(command[1:] if command[0] == "raytrain" else command)
    if not words or words[0] not in COMMANDS:
        given = words[0] if words else "nothing"
        raise ExperimentError(f"{given!r} cannot be submitted; give one of: {', '.join(COMMANDS)}")
    for word in words:
        refuse_credentials(word)  # the cluster lists its jobs with their commands
    options, given = _parsed(context, words)
    for option in ("local", "address"):
        if option in given:
            raise ExperimentError(
                f"leave --{option} out of the command: it runs on the cluster that it is submitted to"
            )
    file = options.get("experiment") or options.get("grid") or (Path("compare") if words[0] == "compare" else None)
    experiment = experiment_of(
        file,
        options["set_"],
        changes_of(
            options["name"],
            workers=options["workers"],
            gpus=options["gpus"],
            seeds=options.get("seeds"),
            max_concurrent=options.get("max_concurrent"),
            no_asha=options.get("no_asha", True),
        ),
    )
    out = options["out"] if "out" in given else None
    if out and "://" not in out and not out.startswith("/"):
        raise ExperimentError(
            f"--out {out} would be lost with the job; give a URI such as s3://bucket/runs, an absolute path that all "
            "nodes share, or no --out"
        )
    _refuse_unsent_data(experiment, send)
    job = name or f"{experiment.name}-{os.urandom(3).hex()}"
    return Submission(
        tuple(words),
        experiment,
        file if file and file.is_file() else None,
        tuple(send),
        out,
        _job_name(job),
        tuple(_requirements()) if install else (),
    )


def follow_home(jobs: "Jobs", submission: Submission, job: "Job", *, out: str, say: Callable[[str], object]) -> None:
    """Say how a job ended, and bring its run folder home if the head kept it."""
    if job.exit_code is None and job.status == "FAILED":
        say(f"the job {job.id} did not run: {job.message.strip()}")
    if submission.out:
        say(f"the run folder is {submission.out}/{submission.experiment.name}")
        return
    try:
        folder = fetch(jobs, job.id, out=out)
    except JobError as error:
        say(str(error))
    except RaytrainError as error:
        say(f"{error}\nTry again with: raytrain pull {job.id}")
    else:
        say(f"the run folder came home to {folder}")


def fetch(jobs: "Jobs", job: str, *, out: str) -> Path:
    """Bring the run folder of a job to the folder `out`, from the head's disk or the storage that the nodes share.

    Raises:
        JobError: The job left none, or another run is in the way.
        ClusterError: It did not arrive.
    """
    run = jobs.get(job).run
    if not run:
        raise JobError(f"{job} is no job of raytrain's")
    folder = Path(out) / run
    fetched = jobs.fetch(job)
    if isinstance(fetched, bytes):
        unpack(fetched, folder)
        return folder
    try:
        pull(Folder.at(fetched), folder)
    except OSError as error:
        raise JobError(f"the run folder is {fetched}, which cannot be read from here ({error})") from error
    return folder


def pull_run(run: str, *, out: str, address: str | None, insecure: bool) -> tuple[Path, dict[str, Any]]:
    """Bring a run folder here.

    Args:
        run: Its URI or path, or the name of the job that wrote it.
        out: Folder of runs to bring it to.
        address: Of the cluster's dashboard, for a job.
        insecure: As for `Jobs`.

    Returns:
        Where it is, and files, bytes ("size") and files that were here already ("unchanged").
    """
    if "://" in run or "/" in run:
        source = Folder.at(run)
        target = Path(out) / source.name
        return target, asdict(pull(source, target))
    from raytrain.cluster.jobs import Jobs

    folder = fetch(Jobs(address, insecure=insecure), run, out=out)
    files = [path for path in folder.rglob("*") if path.is_file()]
    return folder, {"files": len(files), "size": sum(path.stat().st_size for path in files), "unchanged": 0}


def _parsed(context: typer.Context, words: list[str]) -> tuple[dict[str, Any], set[str]]:
    """Return the parameters of a command by name, and which of them the command line gave."""
    root = context.find_root()
    command = cast("Any", root.command).commands[words[0]]
    with command.make_context(words[0], words[1:], parent=root) as parsed:
        given = {name for name in parsed.params if parsed.get_parameter_source(name).name == "COMMANDLINE"}
        return dict(parsed.params), given


def _refuse_unsent_data(experiment: "Experiment", send: Sequence[Path]) -> None:
    for dataset in dict.fromkeys(trial.recipe.dataset for trial in experiment.trials()):
        path = Path(dataset)
        sent = any(path == one or one in path.parents for one in send)
        if "://" not in dataset and path.exists() and not path.is_absolute() and not sent:
            raise ExperimentError(
                f"dataset {dataset} is a folder of this machine, which the cluster does not see.\n"
                f"Take it along with --send {dataset}, or name a URI or a path that all nodes share."
            )


def _job_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        raise ExperimentError(f"--name {name}: a job's name has letters, digits, '.', '_' and '-', at most 100")
    return name


def _requirements() -> list[str]:
    required = metadata.requires("raytrain") or []
    return [one for one in required if "extra ==" not in one and re.split(r"\W", one)[0] not in ON_EVERY_NODE]
