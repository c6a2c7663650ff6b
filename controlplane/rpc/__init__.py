"""The gRPC edges: translate calls of agents and of people, and call the rules."""
