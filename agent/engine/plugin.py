"""What a plugin is: the contracts of inputs, filters and outputs, and what each instance is given.

Life of an instance: constructed (checks its configuration; opens nothing: `--dry-run` gets this far), `open` (acquires
files, sockets, databases; may fail, and then the running pipeline stays as it is), work, `close`. All calls come from
the event loop's thread and never overlap for one instance, except that an output with `workers` has that many writes
under way.
"""

from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Protocol, TypeAlias, runtime_checkable

from agent.engine.config import BOOLEAN, INTEGER, SIZE, STRING, InvalidProperty, Kind, option
from agent.engine.logs import LEVELS, PluginLog
from agent.engine.metrics import Sample
from agent.engine.multiline import MultilineParser
from agent.engine.parser import Parser
from agent.engine.parsers.table import ParserTable
from agent.engine.record import Batch
from agent.engine.resources import Resources
from headrace.config import parse_size

Ack = Callable[[], None]
Wait: TypeAlias = Coroutine[Any, Any, None]


class Held(Protocol):
    """A batch that a filter has not passed on yet. Until `release` it is not acknowledged to its input."""

    def emit(self, batch: Batch, others: Iterable["Held"] = ()) -> None:
        """Let records through the other filters, from the first on; at any time before `release`.

        `others` are what else the records are made of: none of it is acknowledged before the records are delivered.
        """

    def release(self) -> None:
        """All of it is emitted or dropped; called once."""


class Emit(Protocol):
    """Where a filter puts records besides what it returns."""

    def __call__(self, batch: Batch) -> None:
        """Let records through the other filters, from the first on, in this turn."""

    def hold(self) -> Held:
        """Keep the batch that is being processed, or parts of it, for later."""


class Stop(Protocol):
    """Asks the engine for an orderly stop."""

    def __call__(self, why: str, code: int = 0) -> None:
        """`code` is the exit status, if nothing worse happens; the first stop that is asked for counts."""


class PluginError(Exception):
    """A plugin that cannot be opened; the message says what, why, and what to do."""


class Result(Enum):
    """What became of a write. An ERROR is not tried again: the records are dropped and counted."""

    OK = "ok"
    RETRY = "retry"
    ERROR = "error"


LIMIT = Kind("string", lambda text: 0 if text.strip().lower() == "off" else parse_size(text))


@dataclass(frozen=True, slots=True, kw_only=True)
class InputSettings:
    """What every input takes, whatever its plugin."""

    tag: str | None = option(STRING, help="tag of the records; with a '*' where the plugin fills in a name")
    alias: str | None = option(STRING, help="name of this instance in logs and metrics")
    log_level: str | None = option(STRING, choices=LEVELS, help="log level of this instance")
    mem_buf_limit: int = option(
        SIZE, 0, help="bytes in memory at which the input pauses; 0 means the engine's own bound"
    )
    storage_type: str | None = option(
        STRING, name="storage.type", choices=("memory", "filesystem"), help="where records wait"
    )
    routable: bool = option(BOOLEAN, True, help="whether the records go to outputs at all")
    threaded: bool = option(BOOLEAN, False, help="taken for compatibility; has no effect here")


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterSettings:
    """What every filter takes."""

    match: str | None = option(STRING, help="pattern of the tags to take; '*' stands for any characters")
    match_regex: str | None = option(STRING, help="regular expression of the tags to take")
    alias: str | None = option(STRING, help="name of this instance in logs and metrics")
    log_level: str | None = option(STRING, choices=LEVELS, help="log level of this instance")


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputSettings:
    """What every output takes."""

    match: str | None = option(STRING, help="pattern of the tags to take; '*' stands for any characters")
    match_regex: str | None = option(STRING, help="regular expression of the tags to take")
    alias: str | None = option(STRING, help="name of this instance in logs and metrics")
    log_level: str | None = option(STRING, choices=LEVELS, help="log level of this instance")
    retry_limit: str = option(STRING, "1", help="retries before a chunk is dropped: a number, no_limits or no_retries")
    total_limit_size: int = option(
        LIMIT, 0, name="storage.total_limit_size", help="bytes of chunks on disk that may wait; the oldest are dropped"
    )
    workers: int = option(INTEGER, 1, help="writes that may be under way at once; 0 counts as 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What an instance gets from the engine.

    `clock` gives nanoseconds since the epoch, `own_metrics` the engine's numbers. A processor may not emit, and that of
    an output not hold either; that of an input has the input's `tag`. `folder` is the configuration's. A change of
    `parsers_used`, of the text of `files_used`, or of `variables_used` would change this instance. `tag_given` says
    that the configuration names the tag.
    """

    name: str
    tag: str
    log: PluginLog
    clock: Callable[[], int]
    stop: Stop
    resources: Resources
    parsers: ParserTable
    escape_unicode: bool = True
    multiline_limit: int = 2_000_000
    may_emit: bool = True
    may_hold: bool = True
    folder: Path = Path()
    own_metrics: Callable[[], list[Sample]] = list
    parsers_used: set[str] = field(default_factory=set)
    files_used: dict[Path, str] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    variables_used: dict[str, str] = field(default_factory=dict)
    tag_given: bool = False

    def parser(self, property_name: str, parser_name: str) -> Parser:
        """The parser of that name. Raises InvalidProperty when it is not defined."""
        try:
            parser = self.parsers.get(parser_name)
        except LookupError as error:
            raise InvalidProperty(property_name, str(error)) from None
        self.parsers_used.add(parser_name)
        return parser

    def all_variables(self) -> Mapping[str, str]:
        """The variables that the configuration sets, and HOSTNAME."""
        self.variables_used.update(self.variables)
        return self.variables

    def text_file(self, property_name: str, name: str) -> str:
        """What is in a file, named from the working folder or that of the configuration. Raises InvalidProperty."""
        path = Path(name) if Path(name).exists() else self.folder / name
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            why = (error.strerror or error) if isinstance(error, OSError) else "is not UTF-8 text"
            raise InvalidProperty(property_name, f"cannot read {name!r}: {why}") from None
        self.files_used[path] = text
        return text

    def multiline_parser(self, property_name: str, parser_name: str) -> MultilineParser:
        """The multi-line parser of that name. Raises InvalidProperty when it is not defined."""
        try:
            parser = self.parsers.get_multiline(parser_name)
        except LookupError as error:
            raise InvalidProperty(property_name, str(error)) from None
        self.parsers_used.add(parser_name)
        return parser


class Inlet(Protocol):
    """Where an input puts what it reads."""

    @property
    def is_paused(self) -> bool:
        """Whether a push would wait. An input that can tell its sender to come again later does so."""

    async def push(self, batch: Batch, ack: Ack | None = None) -> None:
        """Hand a batch over; waits while the input has too much in memory, which is how an input is paused.

        `ack` is called once, when no output needs the records any more: written, dropped by an output's retry limit,
        filtered out, or kept on disk. An input that can read again (a file) commits its position only then.
        """


class Input(Protocol):
    """A source of records."""

    async def open(self) -> None:
        """Acquire what reading needs. Raises PluginError."""

    async def run(self, inlet: Inlet) -> None:
        """Read and push until cancelled, or return at the end of the source."""

    async def close(self) -> None:
        """Release everything. Called after the last ack, or when the engine gave up waiting for it."""


@runtime_checkable
class Listens(Protocol):
    """An instance that listens somewhere; two of one configuration cannot at the same address."""

    @property
    def listens_on(self) -> str | None:
        """The address, with its protocol; None where nobody else can have it."""


class Filter(Protocol):
    """A change to records on their way; cheap and never blocking."""

    def process(self, batch: Batch, emit: Emit) -> Batch:
        """What goes on to the next filter under the same tag; `emit` sends records to the first, or keeps them."""

    async def open(self) -> None:
        """Acquire what processing needs. Raises PluginError."""

    async def close(self) -> None:
        """Release everything; what is held is emitted. No batch comes after this."""


@runtime_checkable
class Prepares(Protocol):
    """A filter that may have to wait for something before it can process a batch.

    The batch is kept meanwhile, and what its input hands over after it; see `line.py`.
    """

    def prepare(self, batch: Batch) -> Wait | None:
        """None when `process` can do its work at once, else what to wait for before it is called.

        That ends by itself, within a deadline of the filter's own, and raises nothing; it may be cancelled, or never be
        begun. Whatever became of it, `process` is next.
        """


class Output(Protocol):
    """A destination of records."""

    async def open(self) -> None:
        """Acquire what writing needs. An unreachable server is no reason to fail: that is what RETRY is for."""

    async def write(self, batch: Batch) -> Result:
        """Deliver one batch, which is shared and must not be changed. OSError and TimeoutError count as RETRY."""

    async def close(self) -> None:
        """Release everything; no write is under way."""
