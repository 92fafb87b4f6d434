"""What a shell completes: names of runs, trials and experiments, recipe fields and their choices. It reads names only.

PyTorch is not imported, and storage over a network is not asked: a key must be answered at once.
"""

import os
import re
import shlex
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from raytrain.experiment.shipped import SHIPPED
from raytrain.training.trial_id import trial_digest

if TYPE_CHECKING:
    from raytrain.experiment.reference import FieldReference

Found = list[tuple[str, str]]
"""Completions, each with a short explanation that zsh and fish show."""
_FIELD = "_RAYTRAIN_COMPLETED_FIELD"
"""Environment variable with the field of `--set` whose value bash completes."""
_EXPERIMENT = "experiment.yaml"
_PLAIN = re.compile(r"[\w@%+=,.-]+")


def run_names(ctx: typer.Context, incomplete: str) -> Found:
    """Return the runs under `--out` whose names begin with `incomplete`."""
    return [(path.name, "run") for path in _runs(ctx) if path.name.startswith(incomplete)]


def run_or_trial_names(ctx: typer.Context, incomplete: str) -> Found:
    """Return the runs under `--out`; behind RUN/ the trials of that run, by the digests that tables print."""
    run, slash, digest = incomplete.rpartition("/")
    if not slash:
        return run_names(ctx, incomplete)
    trials = sorted(path.name for path in _folders(_out(ctx) / run / "trials"))
    named = [(trial_digest(name), name) for name in trials]
    return [(f"{run}/{short}", name) for short, name in named if short.startswith(digest)]


def experiment_names(incomplete: str) -> Found:
    """Return the shipped experiments, and YAML files and folders on this machine."""
    shipped = [(name, "shipped experiment") for name in SHIPPED if name.startswith(incomplete)]
    folder, slash, begun = incomplete.rpartition("/")
    found = sorted(_listed(Path((folder or "/") if slash else ".")))
    paths = [path for path in found if path.name.startswith(begun) and (begun or not path.name.startswith("."))]
    files = [(f"{folder}{slash}{one.name}", "experiment file") for one in paths if one.suffix in {".yaml", ".yml"}]
    return [*shipped, *files, *((f"{folder}{slash}{one.name}/", "folder") for one in paths if one.is_dir())]


def candidate_names(ctx: typer.Context, incomplete: str) -> Found:
    """Return the runs under `--out`, and experiments as `experiment_names` does."""
    return [*run_names(ctx, incomplete), *experiment_names(incomplete)]


def assignments(incomplete: str) -> Found:
    """Return what `--set` may be given: the fields of a recipe, and behind FIELD= its choices."""
    from raytrain.experiment.reference import recipe_fields  # pydantic would make `raytrain --help` slower

    known = {one.name: one for one in recipe_fields()}
    bash_field = os.environ.get(_FIELD, "")
    name, equals, _ = (bash_field, "", "") if bash_field else incomplete.partition("=")
    if bash_field or equals:
        prefix = "" if bash_field else f"{name}="
        values = _values(known[name]) if name in known else []
        return [(f"{prefix}{value}", meaning) for value, meaning in values if f"{prefix}{value}".startswith(incomplete)]
    from raytrain.cli.experiment.fields import in_short

    begun = [one for one in known.values() if one.name.startswith(incomplete)]
    if len(begun) == 1:  # with two completions, a shell adds no space behind the "="
        return [(f"{begun[0].name}=", in_short(begun[0].meaning)), *assignments(f"{begun[0].name}=")]
    return [(f"{one.name}=", in_short(one.meaning)) for one in begun]


def field_names(incomplete: str) -> Found:
    """Return the fields of a recipe."""
    from raytrain.cli.experiment.fields import in_short
    from raytrain.experiment.reference import recipe_fields

    return [(one.name, in_short(one.meaning)) for one in recipe_fields() if one.name.startswith(incomplete)]


def grids(incomplete: str) -> Found:
    """Return what `--grid` may be given: experiments, and fields of a recipe as axes."""
    axes = [(f"{name}=", meaning) for name, meaning in field_names(incomplete) if name != "seed"]
    return [*experiment_names(incomplete), *axes]


def join_bash_words(environment: MutableMapping[str, str]) -> None:
    """Put together again what bash breaks at "=": `arch = res` is one word, of which `res` is to be completed.

    Args:
        environment: Environment in which bash asks for completions, with the words of the line in COMP_WORDS; changed
            in place.
    """
    try:
        words = shlex.split(environment["COMP_WORDS"])
        position = int(environment["COMP_CWORD"])
    except (KeyError, ValueError):  # such as a quotation that is not closed yet
        return
    joined: list[str] = []
    for word in words[:position]:
        if joined and (word == "=" or joined[-1].endswith("=")):
            joined[-1] += word
        else:
            joined.append(word)
    incomplete = words[position] if position < len(words) else ""
    if incomplete == "=" and joined:
        joined[-1], incomplete = f"{joined[-1]}=", ""
    if joined and joined[-1].endswith("="):
        name = joined.pop()[:-1]
        if name.startswith("-"):
            joined.append(name)
        else:
            environment[_FIELD] = name
    environment["COMP_WORDS"] = shlex.join([*joined, incomplete])
    environment["COMP_CWORD"] = str(len(joined))


def _values(field: "FieldReference") -> Found:
    choices = field.choices or (("true", "false") if isinstance(field.default, bool) else ())
    if not choices:
        return [(str(field.default), "default")] if isinstance(field.default, int | float | str) else []
    plain = [(choice.partition("(")[0], choice) for choice in choices]
    return [(name, "default" if name == str(field.default).lower() else choice) for name, choice in plain]


def _out(ctx: typer.Context) -> Path:
    return Path(str(ctx.params.get("out") or os.environ.get("RAYTRAIN_OUT") or "runs"))


def _runs(ctx: typer.Context) -> list[Path]:
    return sorted(path for path in _folders(_out(ctx)) if (path / _EXPERIMENT).is_file())


def _folders(parent: Path) -> Iterator[Path]:
    return (path for path in _listed(parent) if path.is_dir())


def _listed(folder: Path) -> list[Path]:
    """Return what is in a folder, but for names with characters that mean something to a shell: it evaluates them."""
    try:
        return [path for path in folder.iterdir() if _PLAIN.fullmatch(path.name)]
    except OSError:  # no such folder, or a URI
        return []
