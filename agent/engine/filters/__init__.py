"""The filters: one plugin per file, found by the registry."""
