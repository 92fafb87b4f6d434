"""The files of a run that others read: its tables as Parquet and Markdown, and its report."""

import logging
import shlex

from raytrain.analysis.columns import column_names
from raytrain.analysis.record import RunRecord
from raytrain.provenance.versions import command_line
from raytrain.report import REPORT, records, table
from raytrain.storage.folder import Folder

log = logging.getLogger(__name__)


def write_tables(record: RunRecord) -> RunRecord:
    """Write the tables of a run into its folder, and return its record."""
    folder, ranking = record.folder, record.ranking
    trials = records.flat_rows(ranking)
    content = records.as_parquet(trials, types=records.trial_types(), columns=column_names(ranking))
    folder.write("trials.parquet", content)
    epochs = [{"trial": trial, **row} for trial, rows in record.epochs.items() for row in rows]
    metrics = records.as_parquet(epochs, types=records.DETAILED_METRICS, columns=records.METRICS)
    folder.write("metrics.parquet", metrics)
    text = table.readme(record.name, ranking, command=shlex.join(command_line()))
    folder.write("README.md", text.encode())
    return record


def try_to_write_report(record: RunRecord) -> None:
    """Write the report of a run whose results and tables are written already, so that an error is only logged."""
    try:
        from raytrain.report import page  # Plotly and matplotlib take over a second, and no trial should wait for them

        drop_report(record.folder)
        page.write_report(record)
    except Exception as error:
        log.warning("the report was not written: %s", error, exc_info=log.isEnabledFor(logging.DEBUG))


def drop_report(folder: Folder) -> None:
    """Delete the report of a run that goes on, or has changed: after a kill, an old one would be taken for its own."""
    if folder.exists(REPORT):
        folder.delete(REPORT)
