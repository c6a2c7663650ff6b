"""The inputs: one plugin per file, found by the registry."""
