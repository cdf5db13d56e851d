"""Where outcomes go: rows, files and formats."""
