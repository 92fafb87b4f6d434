"""The event of a decision of ASHA."""

from raytrain.experiment.asha import Decision
from raytrain.experiment.trial import Trial
from raytrain.runs.events import Judged
from raytrain.training.field_rules import is_same_course


def rung_event(trial: Trial, *, epoch: int, decision: Decision) -> Judged:
    """Return the event of a decision of ASHA about a trial."""
    event: Judged = {
        "event": "rung",
        "trial": trial.id,
        "epoch": epoch,
        "rung": decision.rung,
        "accuracy": decision.accuracy,
        "cut": decision.cut,
        "stop": decision.stop,
    }
    if decision.pause:
        event["pause"] = True
    if not is_same_course(trial.recipe):
        event["epochs"] = trial.recipe.epochs
    return event
