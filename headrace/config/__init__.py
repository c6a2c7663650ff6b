"""Fluent Bit configuration, both formats: parse, expand variables, override the service, render.

Pure: nothing here reads files, the environment or the clock. What a configuration includes comes through a reader that
the caller passes in.
"""

from headrace.config.draft import Read
from headrace.config.errors import ConfigError, Fault
from headrace.config.expansion import Reference, substitute, variables
from headrace.config.model import SIGNALS, Document, Format, Kind, Position, Property, Section, Signal, Value
from headrace.config.reader import detect, parse
from headrace.config.service import Overridden, merge_service
from headrace.config.suggest import did_you_mean
from headrace.config.values import parse_bool, parse_size, parse_time
from headrace.config.writer import render

__all__ = [
    "SIGNALS",
    "ConfigError",
    "Document",
    "Fault",
    "Format",
    "Kind",
    "Overridden",
    "Position",
    "Property",
    "Read",
    "Reference",
    "Section",
    "Signal",
    "Value",
    "detect",
    "did_you_mean",
    "merge_service",
    "parse",
    "parse_bool",
    "parse_size",
    "parse_time",
    "render",
    "substitute",
    "variables",
]
