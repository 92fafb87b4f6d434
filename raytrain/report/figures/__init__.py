"""The pictures of a report: curves, heat maps, timelines and mistakes."""
