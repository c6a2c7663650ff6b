"""Headrace, the library: the control channel, the management client, and Fluent Bit configuration.

Importing this package imports nothing heavy; take what is needed from its modules.
"""
