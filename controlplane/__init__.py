"""The control plane: holds the desired pipelines of a fleet and what the agents observed."""
