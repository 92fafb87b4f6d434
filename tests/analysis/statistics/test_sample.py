"""Tests of raytrain.analysis.statistics.sample: pairs that are counted together differ as each pair alone does."""

import itertools

import numpy as np
import pytest

from raytrain.analysis.statistics import sample
from raytrain.analysis.statistics.sample import Sample, compare, comparing
from raytrain.analysis.statistics.significance import ALPHA, pairwise, welch, wilson


def network(accuracy: float, *, images: int = 50, seeds: int = 1, labels: bytes = b"digits") -> Sample:
    draw = np.random.default_rng(int(1000 * accuracy))
    correct = draw.random((seeds, images)) < accuracy
    return Sample(correct.mean(axis=1).tolist(), correct, "digits", labels)


ALIKE = [network(accuracy) for accuracy in (0.9, 0.85, 0.4, 0.1)]
UNLIKE = {
    "other images": network(0.6, labels=b"photos"),
    "another number of images": network(0.6, images=40),
    "several seeds": network(0.6, seeds=3),
    "no predictions": Sample([0.6], None, "digits"),
}


@pytest.mark.parametrize("seeds", [(2, 2), (2, 3), (3, 2)])
def test_of_two_configurations_with_several_seeds_each_the_means_are_compared(seeds: tuple[int, int]) -> None:
    one, other = (network(accuracy, seeds=count) for accuracy, count in zip((0.9, 0.6), seeds, strict=True))
    floors = (one.floor, other.floor)
    assert compare(one, other) == welch(one.accuracies, other.accuracies, floors=floors)


def test_of_no_configuration_there_is_no_pair() -> None:
    assert callable(comparing([]))


def test_configurations_of_one_seed_are_counted_together_and_differ_as_each_pair_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = [compare(*pair) for pair in itertools.combinations(ALIKE, 2)]
    monkeypatch.setattr(sample, "mcnemar", None)
    p_value = comparing(ALIKE)
    assert [p_value(*pair) for pair in itertools.combinations(range(4), 2)] == expected


@pytest.mark.parametrize("what", UNLIKE)
@pytest.mark.parametrize("place", [0, 2, 4])
def test_beside_one_that_is_not_like_the_others_each_pair_has_its_own_test(what: str, place: int) -> None:
    samples = [*ALIKE[:place], UNLIKE[what], *ALIKE[place:]]
    p_value = comparing(samples)
    for one, other in itertools.combinations(range(5), 2):
        assert p_value(one, other) == compare(samples[one], samples[other])


@pytest.mark.parametrize("accuracy", [0.99, 0.995, 0.998])
@pytest.mark.parametrize("seeds", [3, 10])
def test_intervals_near_100_per_cent_hold_the_accuracy_in_at_least_93_of_100_cases(accuracy: float, seeds: int) -> None:
    """On 360 images each is right in all seeds or in none, but for one in five wrong ones, where a coin decides."""
    draw, wrong, held = np.random.default_rng(0), 1 - accuracy, 0
    kinds = draw.random((800, 360))
    coins = draw.random((800, seeds, 360), dtype=np.float32) < 0.5
    for kind, coin in zip(kinds, coins, strict=True):
        correct = np.where(kind < 0.9 * wrong, False, (kind > 1.1 * wrong) | coin)
        interval = Sample(correct.mean(axis=1).tolist(), correct, "digits").interval()
        assert interval is not None
        held += interval.low <= accuracy <= interval.high
    assert 0.93 <= held / 800 <= 0.985


@pytest.mark.parametrize(("seeds", "images"), [(2, 360), (5, 360), (10, 10_000)])
def test_seeds_that_are_right_on_every_image_have_no_narrower_interval_than_one(seeds: int, images: int) -> None:
    interval = Sample([1.0] * seeds, np.ones((seeds, images), dtype=bool), "digits").interval()
    assert interval is not None
    assert interval.low <= wilson(images, images).low
    assert interval.high == 1.0


@pytest.mark.parametrize(
    ("seeds", "chance"),
    [((3, 3, 3), 0.5), ((4,) * 6, 0.5), ((5,) * 13, 0.5), ((1, 5), 5 / 6), ((1, 10, 10), 10 / 11)],
)
def test_rows_that_differ_by_chance_on_one_image_are_separated_in_at_most_5_of_100_cases(
    seeds: tuple[int, ...], chance: float
) -> None:
    """All seeds of all rows are right on the other images; few seeds often agree on this one."""
    draw, separated, cases = np.random.default_rng(0), 0, 400
    for _ in range(cases):
        samples = []
        for count in seeds:
            correct = np.ones((count, 360), dtype=bool)
            correct[:, 0] = draw.random(count) < chance
            samples.append(Sample(correct.mean(axis=1).tolist(), correct, "digits"))
        p_values = pairwise(len(samples), lambda one, other: compare(samples[one], samples[other]))  # noqa: B023 (called at once)
        separated += min(p_values.values()) < ALPHA
    assert separated / cases <= 0.05
