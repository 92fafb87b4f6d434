"""Tests of experiment.words: what the words after `raytrain compare` are."""

from raytrain.experiment.experiment import NAME
from raytrain.experiment.words import run_name


def test_the_name_of_a_run_of_many_architectures_is_short_and_its_own():
    archs = [f"timm:some_network_of_a_long_name_{number}" for number in range(9)]
    names = {run_name(archs), run_name([*archs[:-1], "timm:another"]), run_name(archs, "photos")}
    assert len(names) == 3
    assert all(NAME.fullmatch(name) for name in names)
