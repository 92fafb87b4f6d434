"""A candidate that is judged after every seed: which seeds of the base it needs next, and each judgement on record."""

from collections.abc import Collection, Mapping
from functools import cached_property

from raytrain.analysis.contest import refuse_other_data
from raytrain.analysis.record import RunRecord
from raytrain.analysis.statistics.sequential import fewest_seeds
from raytrain.analysis.statistics.significance import ALPHA
from raytrain.comparison.judge import Verdict, complete_seeds, judge
from raytrain.comparison.shared_images import labels_of, refuse_other_test_images
from raytrain.comparison.verdicts import FILE, add_judgement, read_judgements
from raytrain.data.images import ImageDataset
from raytrain.errors import ExperimentError
from raytrain.experiment.trial import Trial
from raytrain.runs.folder import EXPERIMENT, read_state
from raytrain.runs.results import TrialResult
from raytrain.runs.writing.lock import run_locked
from raytrain.storage.folder import Folder
from raytrain.training.recipe import Recipe

WAIT_S = 60.0
"""Seconds to wait for another command that judges in the same session, which takes moments."""


class Referee:
    """Judges a candidate against a base, after each seed that it is trained with.

    The order of the seeds is that of their numbers, whatever they have reached. A judgement may come after each of
    them, and the number of judgements may depend on all before: the level of a candidate is fixed by its first one, and
    its evidence is valid whenever one looks.

    Attributes:
        base: Record of the run to compare with.
        max_seeds: Largest number of paired seeds with which a candidate is trained.
        verdict: The verdict on all that the candidate has been trained with; None before the first, and while there is
            none.
    """

    def __init__(self, base: RunRecord, session: Folder, *, margin: float, max_seeds: int = 0) -> None:
        """Take a base, of which nothing is read yet.

        Args:
            base: Record of the run to compare with.
            session: Folder with the session's judgements.
            margin: Smallest gain that matters, a fraction.
            max_seeds: Largest number of paired seeds with which a candidate is trained.
        """
        self.base = base
        self.verdict: Verdict | None = None
        self._session = session
        self._margin = margin
        self.max_seeds = max_seeds

    def look(self, candidate: RunRecord) -> Verdict:
        """Judge a candidate as it is now, and keep the judgement in the session.

        Raises:
            ExperimentError: The two cannot be compared.
            RunFolderError: The session is damaged.
        """
        with run_locked(self._session / FILE, wait_s=WAIT_S, advice="Wait for it, or give another --out."):
            self.verdict = judge(self.base, candidate, margin=self._margin, before=read_judgements(self._session))
            add_judgement(self._session, self.verdict.judgement)
        return self.verdict

    def next_seeds(self, candidate: RunRecord) -> list[int]:
        """Return the seeds that a candidate is to be trained with next; none once there is an answer.

        None either where a seed of it failed or diverged, which no further seed can mend, or where there are no more.
        """
        self.verdict = None
        status = {one.recipe["seed"]: one.status for one in candidate.state.results()}
        if begun := [seed for seed, one in status.items() if one == "unfinished"]:
            return begun
        if any(one != "finished" for one in status.values()):
            return []
        if status.keys() & self._seeds.keys() and self.look(candidate).decision.answer != "more seeds":
            return []
        return self.missing(status)

    def missing(self, trained: Collection[int]) -> list[int]:
        """Return the seeds of the base that a candidate needs before there can be an answer, or else the next one.

        Args:
            trained: Seeds that the candidate has been trained with.
        """
        left = sorted(self._seeds.keys() - {*trained})
        shared = len(self._seeds) - len(left)
        wanted = max(1, fewest_seeds(ALPHA) - shared)  # e-values of fewer cannot reach 1 / ALPHA
        return left[: max(0, min(wanted, self.max_seeds - shared))]

    def first_seeds(self, run: Folder) -> list[int]:
        """Return the seeds with which a candidate begins: those of its run, if there is one, or the first of the base.

        Those of its run are the seeds that it lists, and those of the base that it has begun and does not list any
        more, as after another command: without them it would be another candidate.

        Args:
            run: The candidate's run folder, which need not exist.

        Raises:
            ExperimentError: The run cannot go on as that of a candidate, and the message says why.
            RunFolderError: The run is damaged.
        """
        if not run.exists(EXPERIMENT):
            return self.missing(())
        state = read_state(run)
        instead = f"judge the run itself, {run}, instead of its experiment; or give the experiment another `name`"
        if state.experiment.asha:
            raise ExperimentError(f"{run} was trained with early stopping (asha), which judge leaves out; {instead}")
        if any(one.stage == "confirm" and (one.attempts or one.result) for one in state.progress.values()):
            raise ExperimentError(
                f"{run} has seeds of `confirm`, which alone are compared with the base: no further seed would count; "
                f"{instead}"
            )
        listed = state.experiment.seeds or (state.experiment.recipe.seed,)
        others = sorted(self._seeds.keys() - {*listed}) if state.unlisted else []
        recipes = [one.trial.recipe for one in state.progress.values()][:1]  # of the only configuration
        begun = [
            seed for recipe in recipes for seed in others if Trial.of(recipe.replace(seed=seed)).id in state.unlisted
        ]
        return [*listed, *begun]

    def why_no_more(self, verdict: Verdict) -> str:
        """Return why a candidate without an answer gets no further seed."""
        seeds = verdict.judgement.seeds
        reached = f"--max-seeds {self.max_seeds}" if len(seeds) >= self.max_seeds else ""
        if reached and self._seeds.keys() - {*seeds}:
            return f"{reached} is reached; the same command with a larger number goes on."
        confirmed = next(iter(self._seeds.values())).phase == "confirm"
        more = "`confirm.seeds` in its experiment" if confirmed else "--seeds"
        larger = f" with a larger number than {reached}" if reached else ""
        return f"{self.base.name} has no other seeds. Train it with more {more}, then repeat this command{larger}."

    def refuse_other_images(self, name: str, recipe: Recipe, images: ImageDataset) -> None:
        """Refuse a candidate, before it is trained, whose data or test images are not those of the base.

        Args:
            name: Name of the candidate's run.
            recipe: A recipe of the candidate.
            images: Its images.

        Raises:
            ExperimentError: They are not.
        """
        names = (self.base.name, name) if self.base.name != name else (str(self.base.folder), name)
        data = self.base.manifest.get("data", {}), {recipe.data_key.label: images.fingerprint}
        refuse_other_data(dict(zip(names, data, strict=True)))
        refuse_other_test_images(
            names,
            recipes=(next(iter(self._seeds.values())).recipe, recipe.as_json()),
            data=data,
            labels=(labels_of(self.base, self._seeds), images.test.labels),
        )

    @cached_property
    def _seeds(self) -> Mapping[int, TrialResult]:
        return complete_seeds(self.base)
