"""What names and labels may look like."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import InvalidError
from headrace.names import validate_label_key, validate_label_value, validate_name


@pytest.mark.parametrize("name", ["a", "0", "a-b", "edge-01", "a" * 63])
def test_these_are_names(name: str) -> None:
    assert validate_name(name) == name


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("", ""),
        ("Edge", "; did you mean 'edge'?"),
        ("my_pipeline.v1", "; did you mean 'my-pipeline-v1'?"),
        ("-a-", "; did you mean 'a'?"),
        ("a/../b", "; did you mean 'a-b'?"),
        ("a\n", "; did you mean 'a'?"),
        ("a" * 64, f"; did you mean {'a' * 63!r}?"),
        ("é", ""),
        ("***", ""),
    ],
)
def test_these_are_no_names_and_a_near_one_is_suggested(name: str, hint: str) -> None:
    with pytest.raises(InvalidError) as raised:
        validate_name(name, "pipeline name")
    assert str(raised.value) == (
        f"pipeline name {name!r} must be 1-63 lower-case letters, digits or '-', "
        f"beginning and ending with a letter or digit{hint}"
    )


@given(st.text(max_size=200))
def test_a_suggested_name_is_one(name: str) -> None:
    try:
        validate_name(name)
    except InvalidError as error:
        message = error.message
    else:
        return
    _, asked, near = message.partition("; did you mean ")
    if asked:
        validate_name(near.removesuffix("?").strip("'"))


@pytest.mark.parametrize("key", ["a", "A.b_c-d", "x/y", "example.com/Role", "a" * 63, f"{'a' * 63}.b/{'c' * 63}"])
def test_these_are_label_keys(key: str) -> None:
    assert validate_label_key(key) == key


@pytest.mark.parametrize(
    "key", ["", "/", "a/", "/a", "a/b/c", "-a", "a-", "a b", "A.b/c", "a..b/c", "a" * 64, f"{'a.' * 127}b/c", "a\n"]
)
def test_these_are_no_label_keys(key: str) -> None:
    with pytest.raises(InvalidError, match=r"^label key "):
        validate_label_key(key)


@pytest.mark.parametrize("value", ["", "a", "A.b_c-d", "1", "a" * 63])
def test_these_are_label_values(value: str) -> None:
    assert validate_label_value(value) == value


@pytest.mark.parametrize("value", [" ", "a b", "-a", "a/b", "a" * 64, "é", "a\n"])
def test_these_are_no_label_values(value: str) -> None:
    with pytest.raises(InvalidError, match=r"^label value "):
        validate_label_value(value)


@pytest.mark.parametrize("check", [validate_name, validate_label_key, validate_label_value])
def test_a_long_text_is_not_repeated_in_full(check: Callable[[str], str]) -> None:
    with pytest.raises(InvalidError) as raised:
        check("a" * 100_000)
    assert len(str(raised.value)) < 500
