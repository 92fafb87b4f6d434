"""The list of environment variables in docs/commands.md has all that the code reads."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
INTERNAL = {
    "_RAYTRAIN_COMPLETE", "_RAYTRAIN_COMPLETED_FIELD", "COMP_WORDS", "COMP_CWORD",  # set by the shell's completion
    "LOCAL_RANK",  # set by Ray Train for each worker
    "GIT_CONFIG_COUNT",  # passed on to git
    "TORCH_FORCE_WEIGHTS_ONLY_LOAD",  # set for a moment, and put back
    "RAY_UP_enable_autoscaler_v2",  # set for `ray up`
    "TERMINAL_WIDTH",  # set for Typer while a shell completes
}  # fmt: skip


def read_in(path: Path) -> Iterator[str]:
    """Yield the environment variables that a module reads by a name that stands in it."""
    tree = ast.parse(path.read_text())
    constants = {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }

    def is_environ(node: ast.AST) -> bool:
        return isinstance(node, ast.Attribute) and node.attr == "environ"

    named: list[ast.AST] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and is_environ(node.func.value):
            named += node.args[:1]
        elif isinstance(node, ast.Subscript) and is_environ(node.value):
            named.append(node.slice)
        elif isinstance(node, ast.Compare) and any(map(is_environ, node.comparators)):
            named.append(node.left)
        elif isinstance(node, ast.keyword) and node.arg == "envvar":
            named.append(node.value)
    for node in named:
        value = node.value if isinstance(node, ast.Constant) else constants.get(getattr(node, "id", ""))
        if isinstance(value, str):
            yield value


def test_every_environment_variable_that_the_code_reads_is_listed() -> None:
    read = {name for path in (ROOT / "raytrain").rglob("*.py") for name in read_in(path)}
    assert {"RAYTRAIN_OUT", "RAYTRAIN_DATA", "RAYTRAIN_NO_DIFF", "RAY_ADDRESS", "WANDB_MODE"} <= read
    section = (ROOT / "docs/commands.md").read_text().split("\n## Environment variables\n")[1].split("\n## ")[0]
    listed = {
        name
        for line in section.splitlines()
        if line.startswith("| `")
        for name in re.findall(r"`(\w+)`", line.split(" | ")[0])
    }
    assert read - INTERNAL - listed == set()
    assert {name for name in listed if name.startswith("RAYTRAIN_")} <= read
