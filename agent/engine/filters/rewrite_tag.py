"""Filter `rewrite_tag`: sends records that match on under another tag, from the first filter on."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from agent.engine.accessor import MISSING, Accessor, accessor
from agent.engine.config import BOOLEAN, SIZE, STRING, InvalidProperty, option, split_words
from agent.engine.plugin import Context, Emit
from agent.engine.record import Batch, Record
from agent.engine.regex import compile_regex
from agent.engine.registry import filters


@dataclass(frozen=True, slots=True, kw_only=True)
class RewriteTagConfig:
    """What the rewrite_tag filter takes."""

    rule: tuple[str, ...] = option(
        STRING,
        repeated=True,
        required=True,
        help="$key, an expression, the new tag, and whether to keep the record, too",
    )
    emitter_name: str | None = option(STRING, help="taken; has no effect")
    emitter_storage_type: str = option(STRING, "memory", name="emitter_storage.type", help="taken; has no effect")
    emitter_mem_buf_limit: int = option(SIZE, 10_000_000, help="taken; has no effect")


@dataclass(frozen=True, slots=True)
class _Rule:
    value: Accessor
    regex: re.Pattern[str]
    tag: Callable[[str, Record, re.Match[str]], str]
    keep: bool


@filters.register("rewrite_tag", RewriteTagConfig)
class RewriteTag:
    """Re-emits records under another tag."""

    def __init__(self, config: RewriteTagConfig, context: Context) -> None:
        if not context.may_emit:
            raise InvalidProperty("name", "a processor cannot give records another tag; write it as a filter")
        self._rules = [_rule(text) for text in config.rule]

    def process(self, batch: Batch, emit: Emit) -> Batch:
        kept: list[int] = []
        emitted: dict[str, list[int]] = {}
        copies: set[int] = set()
        for at, record in enumerate(batch.records):
            tag, keep = self._new_tag(batch.tag, record)
            if tag is not None:
                emitted.setdefault(tag, []).append(at)
            if tag is None or keep:
                kept.append(at)
            if tag is not None and keep:
                copies.add(at)
        for tag, indexes in emitted.items():
            moved = Batch(
                tag,
                [batch.times[i] for i in indexes],
                [dict(batch.records[i]) if i in copies else batch.records[i] for i in indexes],
                [batch.metadata[i] for i in indexes] if batch.metadata is not None else None,
                batch.size * len(indexes) // len(batch),
            )
            emit(moved)
        return batch.keep(kept)

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        pass

    def _new_tag(self, tag: str, record: Record) -> tuple[str | None, bool]:
        for rule in self._rules:
            value = rule.value(record)
            found = rule.regex.search(value) if type(value) is str else None
            if found is not None:
                return rule.tag(tag, record, found), rule.keep
        return None, True


def _rule(text: str) -> _Rule:
    words = split_words(text, 4)
    if len(words) != 4 or not words[0].startswith("$"):
        raise InvalidProperty("rule", f"{text!r}: expected $key, an expression, a new tag and true or false")
    try:
        keep = BOOLEAN.parse(words[3])
        return _Rule(accessor(words[0]), compile_regex(words[1]), tag_template(words[2]), keep)
    except ValueError as error:
        raise InvalidProperty("rule", f"{text!r}: {error}") from None


_PLACE = re.compile(r"\$(?:TAG(?:\[(\d+)\])?|(\d)|([A-Za-z_][A-Za-z0-9_\-/]*(?:\[(?:'[^']*'|\d+)\])*))")


def tag_template(text: str) -> Callable[[str, Record, re.Match[str]], str]:
    """A function that fills in `$TAG`, `$TAG[n]`, `$0` … `$9` and `$key['nested']`; what is missing is left out."""
    pieces: list[Callable[[str, Record, re.Match[str]], str]] = []
    at = 0
    for found in _PLACE.finditer(text):
        pieces.append(_literal(text[at : found.start()]))
        pieces.append(_place(found))
        at = found.end()
    pieces.append(_literal(text[at:]))
    return lambda tag, record, match: "".join(piece(tag, record, match) for piece in pieces)


def _literal(text: str) -> Callable[[str, Record, re.Match[str]], str]:
    return lambda _tag, _record, _match: text


def _place(found: re.Match[str]) -> Callable[[str, Record, re.Match[str]], str]:
    part, group, key = found[1], found[2], found[3]
    if key is not None:
        value_of = accessor("$" + key)
        return lambda _tag, record, _match: _as_text(value_of(record))
    if group is not None:
        number = int(group)
        return lambda _tag, _record, match: (match[number] or "") if number <= (match.re.groups or 0) else ""
    if part is not None:
        index = int(part)
        return lambda tag, _record, _match: parts[index] if index < len(parts := tag.split(".")) else ""
    return lambda tag, _record, _match: tag


def _as_text(value: object) -> str:
    if value is MISSING or value is None or isinstance(value, dict | list):
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)
