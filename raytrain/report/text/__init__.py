"""Text for a terminal and for documents: tables in columns, numbers with units, what cannot be seen."""
