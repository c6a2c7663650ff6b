"""The one-line form of a multiline parser's rule: `"state" "/regex/" "next_state"`.

The YAML form is a map with those three keys; the model keeps that.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from headrace.config.draft import Draft
from headrace.config.model import Property
from headrace.config.tables import MAPS

RULE_KEYS = MAPS["multiline_parser"][2]


def with_rules(draft: Draft, properties: Iterable[Property]) -> tuple[Property, ...]:
    """The properties of a multiline parser, each one-line rule made a map."""
    return tuple(_rule_as_map(draft, prop) if prop.name == "rule" else prop for prop in properties)


def _rule_as_map(draft: Draft, prop: Property) -> Property:
    if not isinstance(prop.value, str):
        return prop
    try:
        return replace(prop, value=split_rule(prop.value))
    except ValueError as error:
        draft.fault(prop.position, str(error))
        return prop


def split_rule(text: str) -> dict[str, str]:
    """The rule as a map. Raises ValueError unless there are a state, a regular expression and a next state."""
    words = _words(text)
    if len(words) != len(RULE_KEYS):
        raise ValueError(f'a rule is "state" "/regex/" "next_state", each in double quotes; found {len(words)} words')
    return dict(zip(RULE_KEYS, words, strict=True))


def join_rule(rule: Mapping[str, object]) -> str:
    """The rule as one line. Raises ValueError for a word that Fluent Bit's quoting cannot hold."""
    words = [str(rule[key]) for key in RULE_KEYS]
    line = " ".join('"' + word.replace('"', '\\"') + '"' for word in words)
    if _words(line) != words:
        raise ValueError("a word of this rule cannot be quoted: it ends in a backslash")
    return line


def _words(text: str) -> list[str]:
    """Words are parted by spaces, or stand in double quotes in which only the quote itself is escaped."""
    words: list[str] = []
    rest = text.lstrip(" ")
    while rest and len(words) < len(RULE_KEYS):
        if rest.startswith('"'):
            end = rest.find('"', 1)
            while end > 0 and rest[end - 1] == "\\":
                end = rest.find('"', end + 1)
            end = len(rest) if end < 0 else end
            words.append(rest[1:end].replace('\\"', '"'))
            rest = rest[end + 1 :].lstrip(" ")
        else:
            word, _, rest = rest.partition(" ")
            words.append(word)
            rest = rest.lstrip(" ")
    return words
