"""What the text of a property means."""

import pytest

from headrace.config import did_you_mean, parse_bool, parse_size, parse_time


@pytest.mark.parametrize("value", ["true", "TRUE", "on", "Yes", True])
def test_these_are_true(value: object):
    assert parse_bool(value) is True


@pytest.mark.parametrize("value", ["false", "Off", "NO", False])
def test_these_are_false(value: object):
    assert parse_bool(value) is False


@pytest.mark.parametrize("value", ["", "1", "0", "y", " true", "enabled", None, 1])
def test_these_are_no_booleans(value: object):
    with pytest.raises(ValueError, match="is not a boolean; use true or false"):
        parse_bool(value)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("4096", 4096),
        ("32k", 32_000),
        ("32KB", 32_000),
        ("5M", 5_000_000),
        ("1.5mb", 1_500_000),
        ("2G", 2_000_000_000),
        ("-1", -1),
        ("false", 0),
        (4096, 4096),
    ],
)
def test_a_size_is_in_bytes_and_its_unit_a_power_of_1000(text: object, size: int):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "M", "5 M", "5B", "5KiB", "5T", "1,5M", "five", "9" * 400, "0x10", "٣"])
def test_these_are_no_sizes(text: str):
    with pytest.raises(ValueError, match="is not a size; use"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "seconds"), [("0", 0), ("90", 90), ("30s", 30), ("5m", 300), ("1H", 3600), ("2d", 172_800), ("-1", -1)]
)
def test_a_time_is_in_seconds(text: str, seconds: int):
    assert parse_time(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "1.5", "1w", "1h30m", "soon", "9" * 5000])
def test_these_are_no_times(text: str):
    with pytest.raises(ValueError, match="is not a time; use"):
        parse_time(text)


def test_a_near_choice_is_suggested_and_a_far_one_is_not():
    assert did_you_mean("grpe", ["grep", "modify"]) == "; did you mean 'grep'?"
    assert did_you_mean("GREPP", ["grep"]) == "; did you mean 'grep'?"
    assert did_you_mean("zzz", ["grep"]) == ""
    assert did_you_mean("x", []) == ""
