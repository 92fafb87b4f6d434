"""Placement is plain arithmetic: clusters of any shape, without Ray."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raytrain.errors import PreflightError
from raytrain.experiment.sections import Resources
from raytrain.ray_backend.placement import COORDINATOR_CPUS, place

LAPTOP = [{"CPU": 2.0}]
GPU_BOX = [{"CPU": 32.0, "GPU": 4.0}]
CLOUD = [{"CPU": 0.0}, {"CPU": 8.0, "GPU": 1.0}, {"CPU": 8.0, "GPU": 1.0}]


def test_as_many_trials_as_cores_run_at_once_without_a_gpu() -> None:
    placement = place(Resources(), nodes=LAPTOP, trials=5)
    assert (placement.concurrent, placement.cpus, placement.gpus) == (2, 1, 0)


def test_a_single_trial_gets_every_core() -> None:
    assert place(Resources(), nodes=[{"CPU": 8.0}], trials=1).cpus == 8


def test_cores_are_divided_among_few_trials() -> None:
    placement = place(Resources(), nodes=[{"CPU": 64.0}], trials=5)
    assert (placement.concurrent, placement.cpus) == (5, 12)


def test_each_trial_takes_a_gpu_and_its_share_of_the_cores() -> None:
    placement = place(Resources(), nodes=GPU_BOX, trials=10)
    assert (placement.concurrent, placement.cpus, placement.gpus) == (4, 8, 1)


def test_a_fraction_of_a_gpu_packs_several_trials() -> None:
    placement = place(Resources(gpus_per_worker=0.5), nodes=GPU_BOX, trials=10)
    assert (placement.concurrent, placement.cpus) == (8, 4)


def test_a_head_without_cpus_takes_no_trial() -> None:
    placement = place(Resources(), nodes=CLOUD, trials=5)
    assert (placement.concurrent, placement.cpus, placement.gpus) == (2, 8, 1)


def test_workers_of_a_trial_may_stand_on_several_nodes() -> None:
    placement = place(Resources(workers=2), nodes=CLOUD, trials=5)
    assert (placement.concurrent, placement.workers) == (1, 2)


def test_gpus_can_be_left_alone() -> None:
    placement = place(Resources(gpus_per_worker=0), nodes=GPU_BOX, trials=32)
    assert (placement.concurrent, placement.gpus) == (32, 0)


def test_max_concurrent_is_kept_and_frees_cores_for_each_trial() -> None:
    placement = place(Resources(max_concurrent=2), nodes=[{"CPU": 8.0}], trials=5)
    assert (placement.concurrent, placement.cpus) == (2, 4)


@pytest.mark.parametrize(("share", "concurrent"), [(0.1, 20), (0.2, 10), (0.3, 6), (0.4, 4), (0.6, 2), (1.0, 2)])
def test_a_share_of_a_gpu_is_one_of_a_single_gpu(share: float, concurrent: int) -> None:
    placement = place(Resources(gpus_per_worker=share), nodes=[{"CPU": 64.0, "GPU": 2.0}], trials=100)
    assert placement.concurrent == concurrent


@pytest.mark.parametrize(
    ("resources", "nodes"),
    [
        (Resources(workers=3), LAPTOP),
        (Resources(gpus_per_worker=1), LAPTOP),
        (Resources(cpus_per_worker=4), LAPTOP),
        (Resources(workers=3, gpus_per_worker=0.6), [{"CPU": 8.0, "GPU": 2.0}]),
        (Resources(), []),
    ],
)
def test_what_fits_nowhere_is_refused_with_need_and_have(resources: Resources, nodes: list[dict[str, float]]) -> None:
    with pytest.raises(PreflightError, match=r"(?s)no trial fits: one needs .* there are .*\nTry ") as refusal:
        place(resources, nodes=nodes, trials=1)
    assert refusal.value.exit_code == 3


@given(
    workers=st.integers(1, 4),
    cores=st.lists(st.integers(0, 64), min_size=1, max_size=4),
    gpus=st.lists(st.integers(0, 8), min_size=4, max_size=4),
    trials=st.integers(1, 50),
)
def test_all_concurrent_trials_fit_the_cluster_together(
    workers: int, cores: list[int], gpus: list[int], trials: int
) -> None:
    nodes = [{"CPU": float(c), "GPU": float(g)} for c, g in zip(cores, gpus, strict=False)]
    try:
        placement = place(Resources(workers=workers), nodes=nodes, trials=trials)
    except PreflightError:
        return
    assert 1 <= placement.concurrent <= trials
    # a trial of several workers also has a coordinator, which the workers leave room for
    needed = placement.concurrent * (workers * placement.cpus_in_group + COORDINATOR_CPUS)
    assert needed <= sum(cores)
    assert placement.concurrent * workers * placement.gpus <= sum(gpus[: len(cores)])


@pytest.mark.parametrize("nodes", [1, 2, 100, 800])
@pytest.mark.parametrize("cores", [1, 4, 8])
def test_all_coordinators_fit_beside_the_worker_of_any_node(nodes: int, cores: int) -> None:
    placement = place(Resources(), nodes=[{"CPU": float(cores), "GPU": 1.0}] * nodes, trials=1000)
    assert placement.concurrent == nodes
    free = cores - placement.cpus_in_group + 1e-9
    assert free >= max(nodes, 50) * COORDINATOR_CPUS, "other commands have coordinators, too"
    assert placement.cpus_in_group > 0
    assert placement.cpus_in_group * 10_000 == pytest.approx(round(placement.cpus_in_group * 10_000)), "Ray's precision"


def test_an_elastic_trial_runs_on_what_there_is() -> None:
    placement = place(Resources(workers=(1, 4)), nodes=CLOUD, trials=5)
    assert (placement.concurrent, placement.workers, placement.fewest) == (1, 4, 1)
    assert str(placement) == "1 at a time, each on 1 to 4 × 8 CPUs and 1 GPU"
    assert place(Resources(workers=(1, 2)), nodes=[*CLOUD, *CLOUD], trials=5).concurrent == 2
    with pytest.raises(PreflightError, match="one needs 3 × "):
        place(Resources(workers=(3, 4)), nodes=CLOUD, trials=1)


MIXED = [{"CPU": 4.0}, {"CPU": 8.0, "GPU": 2.0, "accelerator_type:L4": 1.0}, {"CPU": 8.0, "GPU": 1.0, "bigmem": 2.0}]


def test_a_kind_of_gpu_confines_trials_to_the_nodes_that_have_it() -> None:
    placement = place(Resources(accelerator_type="L4"), nodes=MIXED, trials=5)
    assert (placement.concurrent, placement.cpus, placement.gpus) == (2, 4, 1)
    assert placement.per_worker() == {"CPU": 4, "GPU": 1, "accelerator_type:L4": 0.001}


def test_custom_resources_are_taken_from_the_node() -> None:
    placement = place(Resources(gpus_per_worker=0, custom={"bigmem": 1}), nodes=MIXED, trials=5)
    assert (placement.concurrent, placement.cpus) == (2, 1)
    assert placement.per_worker() == {"CPU": 1, "bigmem": 1}


def test_a_gpu_that_no_node_has_is_refused_by_name() -> None:
    with pytest.raises(PreflightError, match=r"1 GPU, accelerator_type:H100\).*3 nodes, of which 0 with"):
        place(Resources(accelerator_type="H100"), nodes=MIXED, trials=1)


@pytest.mark.parametrize(
    ("resources", "nodes", "group"),
    [
        (Resources(), LAPTOP, False),
        (Resources(), GPU_BOX, True),
        (Resources(gpus_per_worker=0.5), GPU_BOX, True),
        (Resources(gpus_per_worker=0), GPU_BOX, False),
        (Resources(workers=2), LAPTOP, True),
        (Resources(workers=(1, 2)), LAPTOP, True),
        (Resources(trainer="local"), GPU_BOX, False),
        (Resources(trainer="workers"), LAPTOP, True),
    ],
)
def test_gpus_and_several_workers_get_a_worker_group_unless_the_experiment_says_otherwise(
    resources: Resources, nodes: list[dict[str, float]], group: bool
) -> None:
    placement = place(resources, nodes=nodes, trials=1)
    assert placement.has_worker_group is group
    assert ("in a worker group" in str(placement)) is (group and placement.workers == 1)
