"""docs/python.md says what is so: its code blocks run, one after another, as they stand."""

import re
from pathlib import Path
from typing import Any

import pytest

from raytrain.execution import plan

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.usefixtures("empty_report")
def test_the_code_blocks_of_the_python_page_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the plan measures on Ray is measured here; a plan on Ray: tests/ray_backend/test_own_ray.py."""
    open_backend, on_ray = plan.open_backend, list[bool]()

    def here(*words: Any, local: bool, **options: Any) -> Any:
        on_ray.append(not local)
        return open_backend(*words, local=True, **options)

    monkeypatch.setattr(plan, "open_backend", here)
    blocks = re.findall(
        r"^```python\n(.*?)^```", (ROOT / "docs" / "python.md").read_text(), flags=re.DOTALL | re.MULTILINE
    )
    assert len(blocks) >= 7
    (tmp_path / "experiments").symlink_to(ROOT / "experiments")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "docs/python.md", "exec"), names)
    assert on_ray == [True]
