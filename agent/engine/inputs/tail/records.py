"""From a file's lines to records: long and empty lines, parsers, multi-line messages, path and offset keys."""

import time

from agent.engine.inputs.tail.config import TailConfig
from agent.engine.inputs.tail.files import FollowedFile, Lines
from agent.engine.multiline import Assembler, Message, MultilineParser
from agent.engine.parser import Parser
from agent.engine.plugin import Context
from agent.engine.record import Batch, Record


class Recorder:
    """Makes records as one tail input is configured to. Raises InvalidProperty for parsers that are not defined."""

    def __init__(self, config: TailConfig, context: Context) -> None:
        self._config = config
        self._context = context
        self._parser: Parser | None = context.parser("parser", config.parser) if config.parser else None
        self._multiline: list[MultilineParser] = [
            context.multiline_parser("multiline.parser", name) for name in config.multiline_parser
        ]

    def assembler(self) -> Assembler | None:
        """What puts a new file's messages together, where that is asked for."""
        return Assembler(self._multiline, self._context.multiline_limit) if self._multiline else None

    def make(self, file: FollowedFile, found: Lines) -> tuple[Batch, int]:
        """The records of some lines, and where reading goes on: before a line that is too long, else after them all."""
        config, data, end = self._config, found.data, found.end
        zeros = len(data) - len(data.lstrip(b"\0"))  # what copytruncate may leave at the head of a file
        lines = data[zeros:].split(b"\n")
        starts: list[int] = []
        has_long = len(data) >= config.buffer_max_size and max(map(len, lines)) >= config.buffer_max_size
        if has_long or config.offset_key or file.messages is not None:
            at = found.start + zeros
            for line in lines:
                starts.append(at)
                at += len(line) + 1
        if has_long:
            lines, starts, end = self._short_enough(lines, starts, end)
        if b"\r" in data:
            lines = [line[:-1] if line.endswith(b"\r") and len(line) > 1 else line for line in lines]
        if config.skip_empty_lines:
            kept = [i for i, line in enumerate(lines) if line and line != b"\r"]
            lines, starts = [lines[i] for i in kept], [starts[i] for i in kept] if starts else []
        size = end - found.start
        if file.messages is not None:
            return self._batch(file, self._messages(file.messages, file, lines, starts), size), end
        times, records = self._parsed(lines)
        if config.path_key or config.offset_key:
            records = [self._placed(file, r, starts[i] if starts else 0) for i, r in enumerate(records)]
        return Batch(file.tag, times, records, None, size), end

    def flush(self, file: FollowedFile) -> Batch:
        """The records of a file's messages that count as complete now."""
        return self._batch(file, list(file.messages.flush()) if file.messages else [], 0)

    def _batch(self, file: FollowedFile, messages: list[Message], size: int) -> Batch:
        records = [self._placed(file, record, start) for _, record, start in messages]
        return Batch(file.tag, [when for when, _, _ in messages], records, None, size)

    def _messages(
        self, messages: Assembler, file: FollowedFile, lines: list[bytes], starts: list[int]
    ) -> list[Message]:
        now = self._context.clock()
        complete: list[Message] = []
        for line, start in zip(lines, starts, strict=True):
            complete += messages.append(line.decode("utf-8", "replace"), now, start)
        pending = messages.pending_mark is not None
        file.flush_at = time.monotonic() + messages.flush_timeout if pending else None
        return complete

    def _parsed(self, lines: list[bytes]) -> tuple[list[int], list[Record]]:
        key, now = self._config.key, self._context.clock()
        if self._parser is None:
            return [now] * len(lines), [{key: line.decode("utf-8", "replace")} for line in lines]
        times: list[int] = []
        records: list[Record] = []
        parse = self._parser.parse
        for line in lines:
            parsed = parse(line)
            if parsed is None:
                times.append(now)
                records.append({key: line.decode("utf-8", "replace")})
            else:
                times.append(parsed[0] or now)
                records.append(parsed[1])
        return times, records

    def _short_enough(self, lines: list[bytes], starts: list[int], end: int) -> tuple[list[bytes], list[int], int]:
        """The lines without, or before, those that are too long; cut ones where that is asked for."""
        limit = self._config.buffer_max_size
        if self._config.truncate_long_lines:
            return [line if len(line) < limit else line[: limit - 1] for line in lines], starts, end
        long = [i for i, line in enumerate(lines) if len(line) >= limit]
        if not self._config.skip_long_lines:
            return lines[: long[0]], starts[: long[0]], starts[long[0]]
        self._context.log.warning("%d lines longer than %d bytes are left out", len(long), limit)
        kept = [i for i, line in enumerate(lines) if len(line) < limit]
        return [lines[i] for i in kept], [starts[i] for i in kept], end

    def _placed(self, file: FollowedFile, record: Record, start: int) -> Record:
        """The record with the file's name and the line's place: before a plain line, after a parsed one."""
        config = self._config
        place: Record = {config.path_key: file.path} if config.path_key else {}
        if config.offset_key:
            place[config.offset_key] = start
        plain = self._parser is None or record.keys() == {config.key}
        return {**place, **record} if plain and not self._multiline else {**record, **place}
