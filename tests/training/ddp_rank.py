"""One of several processes that train trials together over gloo: `python ddp_rank.py RANK RANKS FOLDER...`."""

import itertools
import json
import os
import pickle
import sys
from pathlib import Path

import torch
import torch.distributed as dist

from raytrain.storage.folder import Folder
from raytrain.training import checkpoint
from raytrain.training.evaluation import TrainingData
from raytrain.training.recipe import Recipe
from raytrain.training.trial import TrialRun


def main(rank, ranks, folders):
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"  # the tests use no network
    store = dist.FileStore(str(folders[0] / "store"), ranks)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=ranks)
    for folder in folders:
        train(rank, folder)
    dist.destroy_process_group()


def train(rank, folder):
    """Train what is in a folder, through and with a stop; write what it came to."""
    recipe = Recipe(**json.loads((folder / "recipe.json").read_text()))
    splits = pickle.loads((folder / "splits.pickle").read_bytes())
    data = TrainingData.on(torch.device("cpu"), splits)
    written = []
    save = checkpoint.save
    checkpoint.save = lambda *arguments: (written.append(arguments[1].epoch), save(*arguments))  # undone below

    def trial_run(name):
        return TrialRun(
            recipe, data=data, device=torch.device("cpu"), checkpoints=Folder.at(folder / name), run=Folder.at(folder)
        )

    straight = trial_run("straight")
    reports = [report.as_dict() for report in straight.reports()]
    written_straight = list(written)
    stopped = list(itertools.islice(trial_run("resumed").reports(), 2))
    dist.barrier()
    resumed = trial_run("resumed")
    again = [report.as_dict() for report in resumed.reports(after=2)]
    result = {
        "reports": reports,
        "resumed_reports": [report.as_dict() for report in stopped] + again,
        "state": straight.state.state_dict(),
        "resumed_state": resumed.state.state_dict(),
        "written": written_straight,
    }
    torch.save(result, folder / f"rank-{rank}.pt")
    checkpoint.save = save


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), [Path(folder) for folder in sys.argv[3:]])
