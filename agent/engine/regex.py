"""Ruby-style (Onigmo) regular expressions, as Fluent Bit's configuration has them, on Python's `re`.

Translated: `(?<name>…)` groups, `\\h` and `\\H`, `\\A \\z \\Z`, `\\R`, `[[:alpha:]]` brackets, `\\k<name>`, `/…/imx`
literals, inline options, and Ruby's meaning of `^`, `$` (at every line) and of option `m` (dot takes newlines). `\\d
\\w \\s` are ASCII. Refused by name: what `re` has no equal for (`\\p{…}`, `\\g<…>`, `\\X`, `\\K`, `&&` in a bracket).
"""

import re

_POSIX = {
    "alnum": "a-zA-Z0-9",
    "alpha": "a-zA-Z",
    "ascii": r"\x00-\x7f",
    "blank": r" \t",
    "cntrl": r"\x00-\x1f\x7f",
    "digit": "0-9",
    "graph": r"\x21-\x7e",
    "lower": "a-z",
    "print": r"\x20-\x7e",
    "punct": r"!-/:-@\[-`{-~",
    "space": r"\s",
    "upper": "A-Z",
    "word": r"\w",
    "xdigit": "0-9a-fA-F",
}
_NEGATED_POSIX = {"space": r"\S", "word": r"\W", "digit": r"\D"}
_ESCAPES = {
    "h": "[0-9a-fA-F]",
    "H": "[^0-9a-fA-F]",
    "z": r"\Z",
    "Z": r"(?=\n?\Z)",
    "R": r"(?:\r\n|[\n\v\f\r\x85])",
    "e": r"\x1b",
}
_REFUSED = {"p": "\\p{…}", "P": "\\P{…}", "g": "\\g<…>", "X": "\\X", "K": "\\K", "G": "\\G"}


def compile_regex(pattern: str) -> re.Pattern[str]:
    """Compile an Onigmo pattern. Raises ValueError that says what is wrong and where."""
    flags = re.MULTILINE | re.ASCII
    literal = re.fullmatch(r"/(.*)/([a-z]*)", pattern, re.DOTALL)
    if literal:
        pattern = literal[1]
        flags |= re.IGNORECASE if "i" in literal[2] else 0
        flags |= re.DOTALL if "m" in literal[2] else 0
        flags |= re.VERBOSE if "x" in literal[2] else 0
    try:
        return re.compile(translate(pattern), flags)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"not a regular expression: {error}") from error


def translate(pattern: str) -> str:
    """The same expression in the syntax of `re`. Raises ValueError for what it cannot express."""
    out: list[str] = []
    at, end = 0, len(pattern)
    while at < end:
        char = pattern[at]
        if char == "\\":
            text, at = _escape(pattern, at)
        elif char == "[":
            text, at = _bracket(pattern, at)
        elif char == "(" and pattern.startswith("(?", at):
            text, at = _group(pattern, at)
        else:
            text, at = char, at + 1
        out.append(text)
    return "".join(out)


def _escape(pattern: str, at: int) -> tuple[str, int]:
    if at + 1 == len(pattern):
        raise ValueError("not a regular expression: it ends in a lone backslash")
    char = pattern[at + 1]
    if char in _REFUSED:
        raise ValueError(f"{_REFUSED[char]} at position {at} is not supported by the embedded engine")
    if char in _ESCAPES:
        return _ESCAPES[char], at + 2
    back = re.compile(r"\\k(?:<(\w+)>|'(\w+)')").match(pattern, at)
    if back:
        name = back[1] or back[2]
        return (f"\\{name}" if name.isdigit() else f"(?P={name})"), back.end()
    if char.isascii() and char.isalpha() and char not in "abBdDfnrsStuUvwWxA":
        return re.escape(char), at + 2  # Onigmo takes an unknown letter literally, `re` refuses it
    return pattern[at : at + 2], at + 2


def _group(pattern: str, at: int) -> tuple[str, int]:
    if pattern.startswith("(?<", at) and pattern[at + 3 : at + 4] not in ("=", "!"):
        name = re.compile(r"\(\?<([^\W\d]\w*)>").match(pattern, at)
        if not name:
            raise ValueError(f"the group name at position {at} is not a word")
        return f"(?P<{name[1]}>", name.end()
    options = re.compile(r"\(\?([imx]*)(?:-([imx]*))?([:)])").match(pattern, at)
    if not options or not (options[1] or options[2]):
        return "(?", at + 2
    on = options[1].replace("m", "s")
    off = (options[2] or "").replace("m", "s")
    if options[3] == ")" and (at > 0 or off):
        raise ValueError(
            f"option {options[0]} at position {at}: only (?{options[1] or 'i'}:…) is supported inside an expression"
        )
    return f"(?{on}{'-' + off if off else ''}{options[3]}", options.end()


def _bracket(pattern: str, at: int) -> tuple[str, int]:
    out, start = ["["], at
    at += 1
    if pattern.startswith("^", at):
        out.append("^")
        at += 1
    if pattern.startswith("]", at):
        out.append(r"\]")
        at += 1
    while at < len(pattern):
        char = pattern[at]
        if char == "]":
            return "".join(out) + "]", at + 1
        posix = re.compile(r"\[:(\^?)(\w+):\]").match(pattern, at)
        if posix:
            out.append(_posix(posix[2], bool(posix[1]), at))
            at = posix.end()
        elif char == "[":
            text, at = _nested(pattern, at)
            out.append(text)
        elif pattern.startswith("&&", at):
            raise ValueError(f"'&&' in the bracket at position {start} is not supported by the embedded engine")
        elif char == "\\" and pattern[at + 1 : at + 2] == "h":
            out.append("0-9a-fA-F")
            at += 2
        elif char == "\\" and at + 1 < len(pattern):
            out.append(_escape(pattern, at)[0] if pattern[at + 1] != "b" else r"\b")
            at += 2
        else:
            out.append(char if char not in "|~&" else "\\" + char)  # `re` reserves these when doubled
            at += 1
    raise ValueError(f"the bracket at position {start} is not closed")


def _nested(pattern: str, at: int) -> tuple[str, int]:
    """A set inside a set is a union in Ruby; a stray `[` is itself."""
    try:
        text, after = _bracket(pattern, at)
    except ValueError:
        return r"\[", at + 1
    if "]" not in pattern[after:] or text.startswith("[^"):
        return r"\[", at + 1
    return text[1:-1], after


def _posix(name: str, negated: bool, at: int) -> str:
    if name not in _POSIX or (negated and name not in _NEGATED_POSIX):
        raise ValueError(f"[:{'^' if negated else ''}{name}:] at position {at} is not supported by the embedded engine")
    return _NEGATED_POSIX[name] if negated else _POSIX[name]
