"""`python -m raytrain` is the `raytrain` command."""

from raytrain.cli.app import app

app(prog_name="raytrain")
