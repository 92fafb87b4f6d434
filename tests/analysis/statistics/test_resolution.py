"""Tests of raytrain.analysis.statistics.resolution: which difference a table of several rows can show."""

from itertools import combinations

import numpy as np
import pytest

from raytrain.analysis.statistics.power import resolvable_gap, resolvable_gap_of_images
from raytrain.analysis.statistics.resolution import ImageResolution, SeedResolution, resolution_of
from raytrain.analysis.statistics.sample import Sample
from raytrain.analysis.statistics.significance import ALPHA

DATA = ("digits",)


@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_the_gap_of_seeds_allows_for_every_pair_of_configurations(count: int) -> None:
    samples = [Sample([0.90, 0.91, 0.92], None, DATA) for _ in range(count)]
    found = resolution_of(samples)
    assert isinstance(found, SeedResolution)
    pairs = len(list(combinations(samples, 2)))
    assert found.gap == pytest.approx(resolvable_gap(0.01, 3, alpha=ALPHA / pairs))


@pytest.mark.parametrize("count", [2, 3, 4])
def test_the_gap_of_test_images_allows_for_every_pair_of_networks(count: int) -> None:
    # of 1000 images each network is wrong on 20 that all others are right on
    correct = np.ones((count, 1, 1000), dtype=bool)
    for network in range(count):
        correct[network, 0, 20 * network : 20 * (network + 1)] = False
    samples = [Sample([0.98], one, DATA) for one in correct]
    found = resolution_of(samples)
    assert isinstance(found, ImageResolution)
    pairs = len(list(combinations(samples, 2)))
    assert found.gap == resolvable_gap_of_images(0.04, 1000, alpha=ALPHA / pairs)


def test_the_configuration_with_the_fewest_seeds_decides() -> None:
    found = resolution_of([Sample([0.90, 0.91, 0.92], None, DATA), Sample([0.90, 0.91, 0.92, 0.91, 0.91], None, DATA)])
    assert isinstance(found, SeedResolution)
    assert found.seeds == 3


def test_a_single_configuration_has_nothing_to_differ_from() -> None:
    assert resolution_of([Sample([0.90, 0.91], None, DATA)]) is None
