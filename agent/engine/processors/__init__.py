"""The processors: one plugin per file, found by the registry."""
