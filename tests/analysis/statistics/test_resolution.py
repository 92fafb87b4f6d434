"""Tests of raytrain.analysis.statistics.resolution: which difference a table of several rows can show."""

from dataclasses import replace
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


def test_one_seed_of_some_and_several_of_others_have_no_common_gap() -> None:
    correct = np.ones((1, 1000), dtype=bool)
    samples = [Sample([0.90, 0.91], np.repeat(correct, 2, axis=0), DATA), Sample([0.9], correct, DATA)]
    assert resolution_of(samples) is None


def test_networks_on_other_images_tell_nothing_of_how_often_two_disagree() -> None:
    correct = np.ones((3, 1, 1000), dtype=bool)
    correct[1, 0, :20], correct[2, 0, 500:] = False, False
    first, second, elsewhere = (Sample([float(one.mean())], one, DATA) for one in correct)
    found = resolution_of([first, second, replace(elsewhere, dataset=("other",))])
    assert isinstance(found, ImageResolution)
    # of the second, the 20 images are the whole difference; the tests are corrected for three pairs all the same
    assert found.gap == resolvable_gap_of_images(0.0, 1000, alpha=ALPHA / 3)
    assert resolution_of([first, replace(second, dataset=("other",))]) is None
