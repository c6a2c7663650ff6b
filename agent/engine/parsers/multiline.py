"""The multi-line parsers of a configuration, and the built-in ones."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from agent.engine.config import BOOLEAN, INTEGER, STRING, option, read
from agent.engine.multiline import FLUSH_TIMEOUT_MS, START, MultilineParser, Rule
from agent.engine.parser import Parser, ParserConfig
from agent.engine.parsers.json import JsonParser
from agent.engine.parsers.regex import RegexParser
from agent.engine.regex import compile_regex
from headrace.config import Fault, Property, Section, Value, did_you_mean

_JAVA_START = r"(.)(?:Exception|Error|Throwable|V8 errors stack trace)[:\r\n]"
_JAVA_ENDS = r"^--- End of stack trace from previous location where exception was thrown ---$"

# (states, expression, next state)
_BUILT_IN: Mapping[str, tuple[tuple[str, str, str], ...]] = {
    "java": (
        (f"{START}, start", _JAVA_START, "after"),
        ("after", r"^[\t ]*nested exception is:[\t ]*", "start"),
        ("after", r"^[\r\n]*$", "after"),
        ("after, trace", r"^[\t ]+(?:eval )?at ", "trace"),
        ("after, trace", r"^[\t ]+--- End of inner exception stack trace ---$", "trace"),
        ("after, trace", _JAVA_ENDS, "trace"),
        ("after, trace", r"^[\t ]*(?:Caused by|Suppressed):", "after"),
        ("after, trace", r"^[\t ]*... \d+ (?:more|common frames omitted)", "trace"),
    ),
    "python": (
        (START, r"^Traceback \(most recent call last\):$", "frame"),
        ("frame", r"^[\t ]+File ", "code"),
        ("code", r"[^\t ]", "frame"),
        ("frame", r"^(?:[^\s.():]+\.)*[^\s.():]+:", START),
    ),
    "go": (
        (START, r"\bpanic: ", "panic"),
        (START, r"http: panic serving", "goroutine"),
        ("panic, signal, call", r"^$", "goroutine"),
        ("panic", r"^\[signal ", "signal"),
        ("goroutine", r"^goroutine \d+ \[[^\]]+\]:$", "call"),
        ("call", r"^(?:[^\s.:]+\.)*[^\s.():]+\(|^created by ", "place"),
        ("place", r"^\s", "call"),
    ),
    "ruby": (
        (f"{START}, start", r"^.+:\d+:in\s+.*", "after"),
        ("after, trace", r"^\s+from\s+.*:\d+:in\s+.*", "trace"),
    ),
}


def _rule(states: str, expression: str, next_state: str) -> Rule:
    return Rule(frozenset(state.strip() for state in states.split(",")), compile_regex(expression), next_state)


def built_in(clock: Callable[[], int]) -> dict[str, MultilineParser]:
    """The parsers that every configuration has."""
    docker = ParserConfig(format="json", time_format="%Y-%m-%dT%H:%M:%S.%L", time_keep=True)
    cri = ParserConfig(
        format="regex",
        regex=r"^(?<time>.+?) (?<stream>stdout|stderr) (?<_p>F|P) (?<log>.*)$",
        time_format="%Y-%m-%dT%H:%M:%S.%L%z",
        time_keep=True,
        skip_empty_values=False,
    )
    of_rules = {
        name: MultilineParser(name=name, type="regex", rules=tuple(_rule(*rule) for rule in rules))
        for name, rules in _BUILT_IN.items()
    }
    return {
        **of_rules,
        "docker": MultilineParser(
            name="docker",
            type="endswith",
            match_string="\n",
            key_content="log",
            key_group="stream",
            parser=JsonParser("docker", docker, clock),
        ),
        "cri": MultilineParser(
            name="cri",
            type="equal",
            match_string="F",
            key_content="log",
            key_group="stream",
            key_pattern="_p",
            parser=RegexParser("cri", cri, clock),
        ),
    }


_TYPES = ("regex", "endswith", "equal", "eq")


@dataclass(frozen=True, slots=True, kw_only=True)
class MultilineConfig:
    """A `[MULTILINE_PARSER]` section, but for its rules."""

    type: str = option(STRING, required=True, choices=_TYPES, help="how the parts of a message are known")
    match_string: str = option(STRING, "", help="for endswith and equal: the text that completes a message")
    negate: bool = option(BOOLEAN, False, help="for endswith and equal: complete where the text is not")
    flush_timeout: int = option(INTEGER, FLUSH_TIMEOUT_MS, help="milliseconds after which a message is complete")
    key_content: str | None = option(STRING, help="key that holds the text, for records that a parser made")
    key_group: str | None = option(STRING, help="key whose values keep messages apart")
    key_pattern: str | None = option(STRING, help="key whose value is compared")
    parser: str | None = option(STRING, help="parser for each line before it is looked at")


def build_multiline(
    sections: tuple[Section, ...], parsers: Callable[[str], Parser], clock: Callable[[], int]
) -> tuple[dict[str, tuple[Section | None, MultilineParser]], list[Fault]]:
    """All multi-line parsers by name, with their sections, and what is wrong with those that cannot be built."""
    table: dict[str, tuple[Section | None, MultilineParser]] = {
        name: (None, parser) for name, parser in built_in(clock).items()
    }
    faults: list[Fault] = []
    for section in sections:
        label = f"multiline_parser {section.name!r}"
        plain = tuple(prop for prop in section.properties if prop.name != "rule")
        bare = Section(kind=section.kind, position=section.position, properties=plain)
        found, wrong = read(bare, MultilineConfig, label=label)
        rules, rule_faults = _rules(section, label)
        faults += wrong + rule_faults
        if wrong or rule_faults:
            continue
        config: MultilineConfig = found[0]
        try:
            parser = parsers(config.parser) if config.parser else None
        except LookupError as error:
            faults.append(Fault(section.position, f"{label}: {error}"))
            continue
        table[section.name or ""] = (section, _definition(section.name or "", config, rules, parser))
    return table, faults


def _definition(name: str, config: MultilineConfig, rules: tuple[Rule, ...], parser: Parser | None) -> MultilineParser:
    kind: Any = "equal" if config.type == "eq" else config.type
    timeout = config.flush_timeout if config.flush_timeout > 0 else FLUSH_TIMEOUT_MS
    return MultilineParser(
        name=name,
        type=kind,
        match_string=config.match_string,
        negate=config.negate,
        flush_timeout=timeout / 1000,
        key_content=config.key_content,
        key_group=config.key_group,
        key_pattern=config.key_pattern,
        parser=parser,
        rules=rules,
    )


def _rules(section: Section, label: str) -> tuple[tuple[Rule, ...], list[Fault]]:
    rules: list[Rule] = []
    faults: list[Fault] = []
    given = [prop for prop in section.properties if prop.name == "rule"]
    for prop in given:
        try:
            rules.append(_rule(*_rule_parts(prop.value)))
        except ValueError as error:
            faults.append(Fault(prop.position, f"{label}: rule: {error}"))
    if section.get("type") == "regex" and not given:
        faults.append(Fault(section.position, f"{label}: type regex needs rules"))
    known = {state for rule in rules for state in rule.states}
    if not faults:
        faults += _state_faults(rules, given, known, label)
    return tuple(rules), faults


def _state_faults(rules: list[Rule], given: list[Property], known: set[str], label: str) -> list[Fault]:
    faults = [
        Fault(
            prop.position, f"{label}: next state {rule.next_state!r} is not known{did_you_mean(rule.next_state, known)}"
        )
        for rule, prop in zip(rules, given, strict=True)
        if rule.next_state not in known
    ]
    if rules and START not in known:
        faults.append(Fault(given[0].position, f"{label}: no rule has the state {START!r}, so no message ever starts"))
    return faults


def _rule_parts(value: Value) -> tuple[str, str, str]:
    """State, expression and next state; both formats of configuration give a map."""
    if not isinstance(value, Mapping):
        raise ValueError("expected a state, a regex and a next state")
    return str(value.get("state", "")), str(value.get("regex", "")), str(value.get("next_state", ""))
