"""Onigmo expressions on Python's `re`: what is translated, what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.engine.regex import compile_regex


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        (r"(?<level>\w+)", "warn!", "warn"),
        (r"\h+", "xyzdeadBEEF", "deadBEEF"),
        (r"\H+", "abcxyz", "xyz"),
        (r"[[:alpha:]]+", "12ab34", "ab"),
        (r"[[:digit:][:space:]]+", "ab1 2", "1 2"),
        (r"[^[:space:]]+", "  ab ", "ab"),
        (r"\Aone\z", "one", "one"),
        (r"one\Z", "one\n", "one"),
        (r"(?<q>['\"])x\k<q>", "'x'", "'x'"),
        (r"^two$", "one\ntwo\nthree", "two"),
        (r"/ONE/i", "one", "one"),
        (r"/a.b/m", "a\nb", "a\nb"),
        (r"(?i:ONE)", "one", "one"),
        (r"(?i)ONE", "one", "one"),
        (r"(?m:a.b)", "a\nb", "a\nb"),
        (r"[\w\-]+", "a-b", "a-b"),
        (r"[]a]+", "]a", "]a"),
        (r"[a[bc]]+", "abc", "abc"),
        (r"[\h]+", "zzff", "ff"),
        (r"a++b", "aab", "aab"),
        (r"(?>a+)b", "aab", "aab"),
        (r"(?<!x)y", "zy", "y"),
        (r"\R", "a\r\nb", "\r\n"),
        (r"\@\-\/", "@-/", "@-/"),
        (r"[||&&a]".replace("&&", "&"), "|", "|"),
    ],
)
def test_a_ruby_style_expression_finds_what_onigmo_finds(pattern: str, text: str, found: str) -> None:
    match = compile_regex(pattern).search(text)
    assert match is not None
    assert match[0] == found


@pytest.mark.parametrize(
    ("pattern", "text"),
    [(r"\d", "٣"), (r"\w", "é"), (r"[[:alpha:]]", "1"), (r"a.b", "a\nb"), (r"\Atwo", "one\ntwo"), (r"\h", "g")],
)
def test_what_onigmo_does_not_find_is_not_found(pattern: str, text: str) -> None:
    assert compile_regex(pattern).search(text) is None


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        (r"(unclosed", "missing )"),
        (r"[unclosed", "not closed"),
        (r"x\p{Alpha}", r"\p{…} at position 1 is not supported"),
        (r"\g<name>", r"\g<…>"),
        (r"[a&&b]", "'&&'"),
        (r"[[:nothing:]]", "[:nothing:]"),
        ("ends in \\", "lone backslash"),
        (r"(?<1x>a)", "is not a word"),
        (r"a(?i)b", "only (?i:…)"),
        (r"a{2,1}", "not a regular expression"),
    ],
)
def test_what_cannot_be_expressed_is_refused_with_the_reason(pattern: str, why: str) -> None:
    with pytest.raises(ValueError, match=r".") as refused:
        compile_regex(pattern)
    assert why in str(refused.value)


@given(st.text(max_size=40))
def test_any_text_compiles_or_is_a_value_error(pattern: str) -> None:
    try:
        compile_regex(pattern)
    except ValueError:
        pass
