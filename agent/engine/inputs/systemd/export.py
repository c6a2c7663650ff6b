"""Entries of the journal in its export format, as journalctl writes them, piece by piece. Pure.

https://systemd.io/JOURNAL_EXPORT_FORMATS: a field is a line `NAME=value`, or, where the value has line breaks or is no
text, the line `NAME`, its length in eight bytes, and the value. An empty line ends an entry. Values are cut at LONGEST,
where libsystemd cuts them for Fluent Bit, too, so that an entry takes no more memory than that, whatever is in it.
"""

from dataclasses import dataclass, field

from agent.engine.record import Record

LONGEST = 65_536
_NAME = 256
"""No field's name is longer."""


@dataclass(slots=True)
class Entry:
    """One entry; `fields` are in the journal's order, and a name may be there several times."""

    cursor: str = ""
    time: int = 0
    size: int = 0
    fields: list[tuple[str, str]] = field(default_factory=list)

    def first(self, name: str) -> str | None:
        """The first value of a field."""
        return next((value for known, value in self.fields if known == name), None)

    def record(self, *, max_fields: int, lowercase: bool, strip_underscores: bool) -> Record:
        """The entry as a record; what is there several times is a list."""
        record: Record = {}
        for name, value in self.fields[:max_fields]:
            key = name.removeprefix("_") if strip_underscores else name
            key = key.lower() if lowercase else key
            before = record.setdefault(key, value)
            if before is not value:
                record[key] = [*before, value] if isinstance(before, list) else [before, value]
        return record


class ExportReader:
    """Takes bytes as they come and gives entries as they are whole."""

    def __init__(self) -> None:
        self._rest = b""
        self._entry = Entry()
        self._skip = 0
        self._in_long_line = False

    def feed(self, data: bytes) -> list[Entry]:
        """The entries that end in `data`."""
        data, at = self._rest + data, 0
        done: list[Entry] = []
        while True:
            if self._skip:
                passed = min(self._skip, len(data) - at)
                at, self._skip = at + passed, self._skip - passed
            end = data.find(b"\n", at)
            if end < 0:
                if self._in_long_line:
                    at = len(data)
                elif len(data) - at > _NAME + LONGEST:
                    self._line(data[at:])
                    at, self._in_long_line = len(data), True
                break
            if self._in_long_line:
                at, self._in_long_line = end + 1, False
            elif end == at:
                if self._entry.fields:
                    done.append(self._entry)
                at, self._entry = end + 1, Entry()
            elif b"=" in data[at : min(end, at + _NAME)]:
                self._line(data[at:end])
                at = end + 1
            else:
                start = end + 9
                size = int.from_bytes(data[end + 1 : start], "little")
                taken = min(size, LONGEST)
                if len(data) < start + taken:
                    break
                self._add(data[at:end], data[start : start + taken])
                at, self._skip = start + taken, size - taken + 1
        self._rest = data[at:]
        return done

    def _line(self, line: bytes) -> None:
        name, _, value = line.partition(b"=")
        self._add(name, value)

    def _add(self, name: bytes, value: bytes) -> None:
        entry, known = self._entry, name.decode("utf-8", "replace")
        text = value[:LONGEST].decode("utf-8", "replace")
        entry.size += len(name) + min(len(value), LONGEST)
        if known == "__CURSOR":
            entry.cursor = text
        elif known == "__REALTIME_TIMESTAMP":
            entry.time = int(text) * 1000 if text.isascii() and text.isdigit() else 0
        elif not known.startswith("__"):
            entry.fields.append((known, text))
