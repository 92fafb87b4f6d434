"""A command that is to run on a cluster, read as raytrain itself would read it."""

import os
import re
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import typer

from raytrain.cli.experiment.compare_arguments import comparison_of, separation_of
from raytrain.cli.options import changes_of, experiment_of, search_of
from raytrain.cluster.package import is_from_elsewhere, name_beside
from raytrain.cluster.submission import Submission
from raytrain.errors import ExperimentError, did_you_mean
from raytrain.report.text.visible import quoted
from raytrain.storage.credentials import refuse_credentials
from raytrain.storage.typed_path import is_a_file, is_there

if TYPE_CHECKING:
    from raytrain.experiment.experiment import Experiment

COMMANDS = ("compare", "tune", "train")
"""Commands that can be submitted."""
ON_EVERY_NODE = {"ray", "torch", "torchvision"}
"""Requirements that `--install` leaves out: each node has them already, in the build for its GPU."""


def submission_of(
    context: typer.Context, command: Sequence[str], *, name: str | None, send: Sequence[Path], install: bool
) -> Submission:
    """Return the submission of a command, after reading its options as raytrain would, so that errors show before it.

    Args:
        context: Typer context of the running command.
        command: Words of the command to submit, with or without `raytrain` before them.
        name: Name of the job; None for the experiment's name and a suffix.
        send: Files and folders to send with the job.
        install: Whether the nodes install raytrain's requirements.

    Raises:
        ExperimentError: The command cannot be submitted, its experiment is invalid, or it names a folder that the
            cluster cannot see.
    """
    words = list(command[1:] if command[0] == "raytrain" else command)
    if not words or words[0] not in COMMANDS:
        given = words[0] if words else "nothing"
        known = given in getattr(context.find_root().command, "commands", {})  # then it is no slip of the fingers
        instead = ("" if known else did_you_mean(given, COMMANDS)) or f"choose one of {', '.join(COMMANDS)}"
        raise ExperimentError(f"{given!r} cannot be submitted; {instead}")
    for word in words:
        refuse_credentials(word)  # the cluster lists its jobs with their commands
    options, given = _parsed(context, words)
    for option in ("local", "address"):
        if option in given:
            raise ExperimentError(
                f"leave --{option} out of the command: it runs on the cluster that it is submitted to"
            )
    file, experiment = _experiment_of(words[0], options)
    out = options["out"] if "out" in given else None
    if out and "://" not in out and not out.startswith("/"):
        raise ExperimentError(
            f"--out {out} would be lost with the job; give a URI such as s3://bucket/runs, an absolute path that all "
            "nodes share, or no --out"
        )
    file = file if file and is_a_file(file) else None
    _refuse_unsent_data(experiment, send, file=file, words=words)
    job = name or f"{experiment.name}-{os.urandom(3).hex()}"
    return Submission(
        tuple(words),
        experiment,
        file,
        tuple(send),
        out,
        _job_name(job),
        tuple(_requirements()) if install else (),
    )


def _parsed(context: typer.Context, words: list[str]) -> tuple[dict[str, Any], set[str]]:
    """Return the parameters of a command by name, and which of them the command line gave."""
    root = context.find_root()
    command = cast("Any", root.command).commands[words[0]]
    with command.make_context(words[0], words[1:], parent=root) as parsed:
        given = {name for name in parsed.params if parsed.get_parameter_source(name).name == "COMMANDLINE"}
        return dict(parsed.params), given


def _experiment_of(command: str, options: dict[str, Any]) -> tuple[Path | None, "Experiment"]:
    """Return the experiment file that a command names, if it names one, and the experiment that it would run.

    Args:
        command: Name of the command.
        options: Its parameters by name, from `_parsed`.

    Raises:
        ExperimentError: The experiment is invalid.
    """
    given = options.get("experiment")
    file, axes = Path(given) if given else None, list[str]()  # typer 0.28 leaves it a text until the command is called
    if command == "tune":
        file, axes = search_of(file, options["grid"])
    if command == "compare":
        from raytrain.experiment.words import read_words  # pydantic would make `raytrain --help` slower

        file, _ = read_words(options["compared"] or [])
    changes = changes_of(
        options["name"],
        workers=options["workers"],
        gpus=options["gpus"],
        seeds=options.get("seeds"),
        max_concurrent=options.get("max_concurrent"),
        no_asha=options.get("no_asha", True),
        asha=options.get("asha"),
        axes=axes,
        samples=options.get("samples"),
        sampler=options.get("sampler"),
        round_size=options.get("round_size"),
    )
    changes |= separation_of(options.get("until_separated"), options.get("max_seeds"))
    if command == "compare":
        return file, comparison_of(options["compared"] or [], options["set_"], changes)
    return file, experiment_of(file, options["set_"], changes, unnamed=command)


def _refuse_unsent_data(
    experiment: "Experiment", send: Sequence[Path], *, file: Path | None, words: Sequence[str]
) -> None:
    from raytrain.data.sources import parted  # pyarrow and NumPy, which other submissions do not wait for

    needed = {parted(trial.recipe.dataset)[0]: "dataset {} is a local folder" for trial in experiment.trials()}
    curves = experiment.asha.curves if experiment.asha else ()
    needed |= dict.fromkeys(curves, "asha.curves names {}, a local file or folder")
    for name, what in needed.items():
        path = Path(os.path.expanduser(name))  # noqa: PTH111 (it leaves a home that is unknown here as it is)
        if "://" in name or not is_there(path):
            continue
        looked_for = _looked_for(name, file, words)
        sent_paths = [sent_path for one in send if (sent_path := _sent_as(path, one, file))]
        if looked_for in sent_paths or (path.is_absolute() and not looked_for and not sent_paths):
            continue  # it is sent, or it is a path that all nodes share
        if looked_for:
            sent = name if _sent_as(path, path, file) == looked_for else str(path.absolute())
            raise ExperimentError(
                f"{what.format(name)}, which the cluster cannot see.\n"
                f"Send it with --send {quoted(sent)}, or give a URI or a path that all nodes share."
            )
        above_file = file and not path.is_absolute() and ".." not in path.parts
        there = os.path.relpath(path, file.parent) if file and above_file else name
        raise ExperimentError(
            f"{what.format(name)}. Sent with --send, it would be "
            f"{sent_paths[0] if sent_paths else name_beside(path, file)} on the cluster, where the command looks "
            f"for {there}.\n"
            "Run submit from a folder above the data, name the data and the experiment file by their paths from there, "
            "or give a URI or a path that all nodes share."
        )


def _looked_for(name: str, file: Path | None, words: Sequence[str]) -> str | None:
    """Return where the command looks for data within the package; None where its name leads out of that.

    Args:
        name: Name of the data, as the working folder has it.
        file: Experiment file of the command, whose own names for data start from its folder.
        words: Words of the command.
    """
    path = Path(name)
    if path.is_absolute() or name.startswith("~"):
        return None
    given = re.compile(rf"[=,\[\s]{re.escape(name)}(?:[],#\s]|$)")
    if file and is_from_elsewhere(file) and not any(map(given.search, words)):
        top, whole = file.resolve().parent, Path(os.path.normpath(path.parent.resolve() / path.name))
        return whole.relative_to(top).as_posix() if whole.is_relative_to(top) else None
    return None if ".." in path.parts else path.as_posix()


def _sent_as(path: Path, sent: Path, file: Path | None) -> str | None:
    """Return what data is called in the package, if it is `sent` or in that folder."""
    folder = sent.resolve()
    linked = [path.parent.resolve() / path.name] if path.is_file() else []  # it travels as what it stands for
    inside = next((one for one in (*linked, path.resolve()) if one.is_relative_to(folder)), None)
    return inside and (Path(name_beside(sent, file)) / inside.relative_to(folder)).as_posix()


def _job_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        raise ExperimentError(
            f"--name {name}: use at most 100 letters, digits, '.', '_' and '-', first a letter or digit"
        )
    return name


def _requirements() -> list[str]:
    required = metadata.requires("raytrain") or []
    return [one for one in required if "extra ==" not in one and re.split(r"\W", one)[0] not in ON_EVERY_NODE]
