"""What stands in the sections of report.html, as text and rows; templates/page.html lays it out."""
