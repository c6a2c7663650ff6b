"""The outputs: one plugin per file, found by the registry."""
