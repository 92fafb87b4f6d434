"""Examples that `--help` shows below each command."""

import typer

EXAMPLES = {
    "train": ("raytrain train fast", "raytrain train first.yaml --set lr=0.05 --name slower"),
    "compare": ("raytrain compare quick", "raytrain compare first.yaml --seeds 0,1,2 --no-asha"),
    "tune": ("raytrain tune --grid lr=0.1,0.01 --grid optimizer=sgd,adam", "raytrain tune lr --samples 20"),
    "resume": ("raytrain resume quick", "raytrain resume quick --failed-only"),
    "plan": ("raytrain plan compare", "raytrain plan first.yaml --list"),
    "results": (
        "raytrain results",
        "raytrain results quick --columns arch,test_accuracy,lr --sort -seconds",
        "raytrain results quick --where 'lr < 0.1' --assert 'test_accuracy > 0.9'",
    ),
    "report": ("raytrain report quick --open", "raytrain report quick --output quick.html"),
    "diff": ("raytrain diff quick wide", "raytrain diff quick/97817e05 quick/722b138e"),
    "rerun": ("raytrain rerun quick --verify", "raytrain rerun quick/97817e05 --name again"),
    "view": ("raytrain view", "raytrain view quick --open"),
    "plot": ("raytrain plot quick --kind val-accuracy -o curves.pdf",),
    "log": (
        "raytrain log quick --to mlflow --tracking-uri http://127.0.0.1:5000",
        "raytrain log quick --to wandb --project digits --models",
    ),
    "rm": ("raytrain rm quick", "raytrain rm quick wide --yes"),
    "prune": ("raytrain prune quick", "raytrain prune quick --yes"),
    "audit": ("raytrain audit quick", "raytrain audit --baseline student"),
    "judge": (
        "raytrain judge base idea.yaml",
        "raytrain judge base idea.yaml --max-seeds 10",
        "raytrain judge base idea --margin 0.5",
    ),
    "baseline import": ("raytrain baseline import old/tensorboard --name old",),
    "baseline list": ("raytrain baseline list",),
    "baseline show": ("raytrain baseline show student",),
    "export": ("raytrain export quick -o model.pth", "raytrain export quick/97817e05 -o model.safetensors"),
    "evaluate": ("raytrain evaluate model.pth", "raytrain evaluate model.pth --dataset photos"),
    "predict": ("raytrain predict model.pth photo.jpg", "raytrain predict model.pth folder --top 1 --json"),
    "cluster template": ("raytrain cluster template slurm -o job.sh",),
    "cluster check": ("raytrain cluster check cluster.yaml",),
    "cluster up": ("raytrain cluster up cluster.yaml",),
    "cluster down": ("raytrain cluster down cluster.yaml",),
    "cluster status": ("raytrain cluster status cluster.yaml",),
    "submit": ("raytrain submit -- compare quick", "raytrain submit --detach -- tune lr --seeds 0,1"),
    "jobs": ("raytrain jobs", "raytrain jobs --json"),
    "logs": ("raytrain logs quick-3f9a1c --follow",),
    "stop": ("raytrain stop quick-3f9a1c",),
    "pull": ("raytrain pull quick-3f9a1c", "raytrain pull s3://bucket/runs/quick"),
    "doctor": ("raytrain doctor", "raytrain doctor --dataset photos --local"),
    "fields": ("raytrain fields", "raytrain fields optimizer"),
    "schema": ("raytrain schema",),
    "data fetch": ("raytrain data fetch cifar10", "raytrain data fetch photos --image-size 64"),
    "data verify": ("raytrain data verify photos", "raytrain data verify photos --near --json"),
    "new": ("raytrain new mine",),
}
"""Lines to try, by the full name of the command; each fits a terminal of 80 columns."""


def add_examples(app: typer.Typer, group: str = "") -> None:
    """Have the help of every command of an application end with its examples."""
    for info in app.registered_commands:
        callback = info.callback
        assert callback is not None
        name = info.name or callback.__name__.strip("_").replace("_", "-")
        lines = EXAMPLES.get(f"{group} {name}".strip(), ())
        info.epilog = "\n".join(["Examples:", *lines])
    for below in app.registered_groups:
        assert below.typer_instance is not None
        add_examples(below.typer_instance, str(below.name))
