"""A command on its way to a cluster and its run folder on the way back."""

import shlex
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from raytrain.cluster.jobs import Job, Jobs
from raytrain.cluster.package import Package, with_path
from raytrain.cluster.transfer import pull, unpack
from raytrain.errors import ExperimentError, JobError, PreflightError, RaytrainError
from raytrain.experiment.experiment import NAME, Experiment
from raytrain.experiment.user_code import digests_of
from raytrain.storage.folder import Folder
from raytrain.storage.typed_path import expanded
from raytrain.training.initial.sources import source_of


@dataclass(frozen=True)
class Submission:
    """A command that is to run on a cluster.

    Attributes:
        arguments: Words of the command after `raytrain`.
        experiment: Experiment that the command runs.
        file: Experiment file in the arguments; None for a shipped experiment or the default recipe.
        send: Files and folders to send with the command.
        out: Folder or URI of runs in the arguments; None for the default of the cluster's head.
        job: Name of the job.
        install: Requirements that the nodes install first.
    """

    arguments: tuple[str, ...]
    experiment: Experiment
    file: Path | None
    send: tuple[Path, ...]
    out: str | None
    job: str
    install: tuple[str, ...]

    @contextmanager
    def package(self) -> Generator[Package]:
        """Yield the package of files that the command needs on the cluster.

        Raises:
            PreflightError: It is too large, or something to send is not there, or lies where it cannot be named.
        """
        with tempfile.TemporaryDirectory(prefix="raytrain-") as folder:
            package = Package(Path(folder))
            package.add_raytrain()
            for path in [*self.send, *([self.file] if self.file else [])]:
                package.add(path, beside=self.file)
            package.add_user_code(digests_of(self.experiment), beside=self.file)
            for path in initial_files(self.experiment):
                package.add_beside(path, beside=self.file)
            package.check_size()
            yield package

    def submit(self, jobs: Jobs, package: Package) -> None:
        """Start it."""
        words = self.arguments if self.file is None else with_path(self.arguments, self.file)
        jobs.submit(words, package, job=self.job, run=self.experiment.name, out=self.out, install=self.install)


def initial_files(experiment: Experiment) -> list[Path]:
    """Return the files of weights that an experiment's trials start from.

    Raises:
        PreflightError: They start from a trial of a run, which is not on the cluster.
    """
    files: dict[Path, None] = {}
    for init in dict.fromkeys(trial.recipe.init for trial in experiment.trials()):
        source = source_of(init)
        if source and source.path is None:
            raise PreflightError(
                f"init: {init}: a trial of a run on this machine is not on the cluster; write its weights into a file "
                "with `raytrain export`, and name that"
            )
        if source and source.path:
            files[source.path] = None
    return list(files)


def follow_home(jobs: Jobs, submission: Submission, job: Job, *, out: str, say: Callable[[str], object]) -> None:
    """Report how a job ended, and copy its run folder to this machine unless it is in the `out` of the command."""
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
        say(f"{error}\nTry again with: raytrain pull {shlex.quote(job.id)}")
    else:
        say(f"the run folder was copied to {folder}")


def fetch(jobs: Jobs, job: str, *, out: str) -> Path:
    """Copy the run folder of a job to the folder `out`, from the head's disk or the storage that the nodes share.

    Raises:
        ExperimentError: `out` is a URI.
        JobError: The job left none, another run is in the way, or the cluster names a folder outside of `out`.
        ClusterError: It did not arrive.
    """
    run = jobs.get(job).run
    if not run:
        raise JobError(f"{job} is not a raytrain job, so it has no run folder")
    if not NAME.fullmatch(run):
        raise JobError(
            f"the cluster says that the run of {job} is called {run[:80]!r}, which names no run; nothing was copied"
        )
    folder = folder_here(out) / run
    fetched = jobs.fetch(job)
    if isinstance(fetched, bytes):
        unpack(fetched, folder)
        return folder
    if "://" not in fetched or fetched.startswith("file:"):
        raise JobError(f"the cluster says that the run folder is {fetched[:80]!r}, which is no URI of shared storage")
    try:
        pull(Folder.at(fetched), folder)
    except OSError as error:
        raise JobError(f"the run folder is {fetched}, which cannot be read from here ({error})") from error
    return folder


def folder_here(out: str) -> Path:
    """Return the folder on this machine that runs are copied to.

    Raises:
        ExperimentError: `out` is the URI of a storage, such as a RAYTRAIN_OUT that other commands write to.
    """
    if "://" in out:
        raise ExperimentError(
            f"--out or RAYTRAIN_OUT is {out}, a URI; a run is copied to a folder on this machine: give --out DIR"
        )
    return expanded(out)


def pull_run(run: str, *, out: str, address: str | None, insecure: bool) -> tuple[Path, dict[str, Any]]:
    """Copy a run folder to this machine.

    Args:
        run: URI or path of the run folder, or the name of the job that wrote it.
        out: Local folder of runs to copy it to.
        address: URL of the cluster's dashboard, for a job; None for the default of `Jobs`.
        insecure: Whether to connect to another host without a token.

    Returns:
        The local folder, and a dict with the number of copied "files", their "size" in bytes, and the number of
        "unchanged" files.

    Raises:
        ExperimentError: `out` is a URI, or `run` names no run.
        JobError: The job left no run folder.
        ClusterError: It did not arrive.
    """
    here = folder_here(out)
    if "://" in run or "/" in run:
        source = Folder.at(run)
        if not NAME.fullmatch(source.name):
            raise ExperimentError(f"{run}: give the path or URI of a run folder; it ends in the run's name")
        target = here / source.name
        return target, asdict(pull(source, target))
    folder = fetch(Jobs(address, insecure=insecure), run, out=out)
    files = [path for path in folder.rglob("*") if path.is_file()]
    return folder, {"files": len(files), "size": sum(path.stat().st_size for path in files), "unchanged": 0}
