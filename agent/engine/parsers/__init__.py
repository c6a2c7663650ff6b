"""The formats of parsers, one per file, and the table of those that a configuration defines."""
