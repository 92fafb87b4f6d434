"""`python -m raytrain` is the `raytrain` command."""

from raytrain.cli import app

app(prog_name="raytrain")
