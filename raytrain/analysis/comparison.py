"""A run beside a baseline: its curves as further rows of the ranked table, at equal epochs."""

from dataclasses import replace

from raytrain.analysis.baselines import Baseline, BaselineRow
from raytrain.analysis.ranking import Ranking


def beside(ranking: Ranking, baseline: Baseline) -> Ranking:
    """Return the ranking with a row for each curve of a baseline, at the epoch that the run's longest trial reached.

    They have no rank: one log is one seed, and its protocol is another. A curve that is shorter stands at its end.
    """
    results = [result for standing in ranking.standings for result in standing.results]
    finished = [result.epochs for result in results if result.status == "finished"]
    epoch = max(finished or [result.epochs for result in results], default=0)
    rows: list[BaselineRow] = []
    for curve in baseline.curves:
        tested, trained = curve.at(epoch), curve.at(epoch, "train_accuracy")
        if tested is None and trained is None:
            continue
        at = max(found[0] for found in (tested, trained) if found)
        name, train, test = f"{baseline.name}/{curve.name}", trained and trained[1], tested and tested[1]
        rows.append(BaselineRow(name, curve.arch, at, len(curve.epochs), train, test))
    others = {str(result.recipe["dataset"]) for result in results} - {baseline.dataset}
    elsewhere = (
        f" They are of {baseline.dataset}, the run's of {', '.join(sorted(others))}: accuracies on different images do "
        "not compare."
        if baseline.dataset and others
        else ""
    )
    said = (
        f"The rows of {baseline.name} are from its logs at epoch {epoch}, or at their end: the test accuracy of that "
        "epoch, and the training accuracy as it was logged. They are not ranked: it was another protocol, and there "
        f"are no seeds to judge by.{elsewhere}"
    )
    return replace(ranking, beside=rows, sentences=[*ranking.sentences, said])
