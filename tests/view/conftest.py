"""Made-up runs, as the tests of the report have them."""

import importlib.util
from pathlib import Path

_spec = importlib.util.spec_from_file_location("made_up_runs", Path(__file__).parents[1] / "report" / "conftest.py")
assert _spec
assert _spec.loader
_module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_module)
make_run = _module.make_run
make_run_once = _module.make_run_once
