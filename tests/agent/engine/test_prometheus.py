"""Prometheus's text format: what we write is what it defines, and what we read is what was written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.engine.metrics import Histogram
from agent.engine.points import newest, number, point, snapshot
from agent.engine.prometheus import as_text, read_text
from agent.engine.record import Record

NOW = 1_772_359_200_123_000_000

names = st.from_regex(r"[a-zA-Z_:][a-zA-Z0-9_:]{0,8}", fullmatch=True)
label_names = st.from_regex(r"[a-z_][a-zA-Z0-9_]{0,5}", fullmatch=True).filter(lambda n: n not in ("le", "quantile"))
texts = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]) | st.sampled_from('\\"\n}{,='))
helps = texts.map(str.strip).filter(lambda text: "\n" not in text[:1] and text == " ".join(text.split(" ")))
values = st.floats().map(number)


@st.composite
def some_points(draw: st.DrawFn) -> list[Record]:
    """Points of a few metrics, each with its own type, without one series twice."""
    made: list[Record] = []
    for name in draw(st.lists(names, unique=True, max_size=4)):
        name = f"{name}_x"  # never one that ends as a part of another
        kind = draw(st.sampled_from(["counter", "gauge", "histogram", "summary", "untyped"]))
        about = {"name": name, "type": kind, "help": draw(helps)}
        sets = st.dictionaries(label_names, texts, max_size=3)
        for labels in draw(st.lists(sets, min_size=1, max_size=3, unique_by=lambda d: tuple(sorted(d.items())))):
            one: Record = {**about, "labels": labels, "source": "page"}
            if kind in ("histogram", "summary"):
                steps = draw(st.dictionaries(st.sampled_from(["0.1", "1.0", "5", "+Inf"]), values, min_size=1))
                one |= {"buckets" if kind == "histogram" else "quantiles": steps, "sum": draw(values), "count": 3}
            else:
                one["value"] = draw(values)
            made.append(one)
    return made


@given(some_points(), st.booleans())
def test_what_is_written_is_read_back(points: list[Record], with_times: bool) -> None:
    text = as_text(((NOW, one) for one in points), with_times=with_times)
    assert read_text(text, now=NOW, source="page") == [(NOW, one) for one in points]


def test_a_page_has_each_metric_once_with_its_lines_together() -> None:
    histogram = Histogram((0.5, 10.0))
    for value in (0.1, 3, 99):
        histogram.add(value)
    points = [
        point(("a.b", "counter", 'Says "a\\b"\nhere.', {"x": 'q"\\\n'}, 2.0), "s"),
        point(("took", "histogram", "Seconds.", {"x": "1"}, histogram), "s"),
        point(("a.b", "counter", "", {}, 0.25), "s"),
        point(("nan", "gauge", "", {}, float("nan")), "s"),
    ]
    assert as_text((0, one) for one in points).splitlines() == [
        r'# HELP a_b Says "a\\b"\nhere.',
        "# TYPE a_b counter",
        r'a_b{x="q\"\\\n"} 2',
        "a_b 0.25",
        "# HELP took Seconds.",
        "# TYPE took histogram",
        'took_bucket{le="0.5",x="1"} 1',
        'took_bucket{le="10.0",x="1"} 2',
        'took_bucket{le="+Inf",x="1"} 3',
        'took_sum{x="1"} 102.1',
        'took_count{x="1"} 3',
        "# HELP nan ",
        "# TYPE nan gauge",
        "nan NaN",
    ]


def test_a_page_of_somebody_elses_is_read_as_written() -> None:
    page = """
        # just a comment
        # TYPE rpc_seconds summary
        rpc_seconds{quantile="0.5",} 4.7
        rpc_seconds_sum 1.7e+07
        rpc_seconds_count 2693
        # TYPE odd nonsense
        odd   -Inf   1772359200000
        plain_sum{ a = "}" , b="x,y" } 1
        """
    read = read_text(page, now=NOW, source="p")
    assert [(one["name"], one["type"], one["labels"]) for _, one in read] == [
        ("rpc_seconds", "summary", {}),
        ("odd", "untyped", {}),
        ("plain_sum", "untyped", {"a": "}", "b": "x,y"}),
    ]
    assert read[0][1]["quantiles"] == {"0.5": 4.7}
    assert (read[0][1]["sum"], read[0][1]["count"]) == (17_000_000, 2693)
    assert read[1] == (1_772_359_200_000_000_000, {**read[1][1], "value": "-Inf"})


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("x", "not a sample"),
        ("x1", "not a sample"),
        ("x one", "could not convert"),
        ("x 1 2 3", "not a sample"),
        ("x{a=1} 1", "not a label"),
        ('x{a="1} 1', "not a label"),
        ("{} 1", "not a sample"),
        ("h_bucket 1", "no label 'le'"),
    ],
)
def test_a_line_that_is_none_is_named(line: str, why: str) -> None:
    with pytest.raises(ValueError, match=f"line 2: .*{why}"):
        read_text(f"# TYPE h histogram\n{line}\n", now=NOW, source="p")


def test_of_each_source_and_series_the_newest_point_counts() -> None:
    batch = snapshot("t", 5, [point(("a", "gauge", "", {}, 1), "s"), point(("a", "gauge", "", {}, 9), "other")])
    batch.extend(snapshot("t", 7, [point(("a", "gauge", "", {}, 2), "s")]))
    batch.extend(snapshot("t", 6, [point(("a", "gauge", "", {}, 3), "s")]))
    found = {source: [(when, one["value"]) for when, one in known.values()] for source, known in newest(batch).items()}
    assert found == {"s": [(7, 2)], "other": [(5, 9)]}
