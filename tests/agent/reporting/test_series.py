"""Which numbers are kept: the table, on what the engines really say."""

from __future__ import annotations

from agent.reporting.exposition import parse
from agent.reporting.series import MAX_TAG, Raw, Scrape, Series, is_wanted, sort

# From Fluent Bit 5.1.1.
TEXT = r"""# TYPE fluentbit_uptime counter
fluentbit_uptime{hostname="vm"} 4
fluentbit_hot_reloaded_times{hostname="vm"} 2
fluentbit_logger_logs_total{message_type="error"} 1
fluentbit_logger_logs_total{message_type="info"} 9
fluentbit_routing_logs_records_total{input="my\"in",output="null.0"} 16
fluentbit_input_records_total{name="my\"in"} 17
fluentbit_input_records_total{name="storage_backlog.2"} 5
fluentbit_input_records_total{name="storage_backlog"} 5
fluentbit_input_records_total{name="headrace.tap"} 6
fluentbit_input_records_total{name="storage_backlog_of_mine"} 8
fluentbit_output_proc_records_total{name="null.0"} 19
fluentbit_storage_chunks 1
fluentbit_output_latency_seconds_bucket{le="0.5",input="my\"in",output="null.0"} 16
fluentbit_output_latency_seconds_bucket{le="+Inf",input="my\"in",output="null.0"} 16
fluentbit_output_latency_seconds_sum{input="my\"in",output="null.0"} 3.5
fluentbit_output_latency_seconds_count{input="my\"in",output="null.0"} 16
fluentbit_output_latency_seconds_sum{input="dummy.1",output="null.0"} 0.5
fluentbit_build_info{hostname="vm",version="5.1.1",os="linux"} 1795811307
"""


def scrape(text: str, process: str = "7-1") -> Scrape | None:
    return sort(parse(text, is_wanted).samples, process=process)


def test_what_is_kept_has_plugin_and_kind_and_nothing_of_what_the_agent_added() -> None:
    found = scrape(TEXT)
    assert found is not None
    assert found.counters == {
        Raw(Series("fluentbit_logger_logs_total", "", "error"), ""): 1.0,
        Raw(Series("fluentbit_input_records_total", 'my"in'), ""): 17.0,
        Raw(Series("fluentbit_input_records_total", "storage_backlog_of_mine"), ""): 8.0,
        Raw(Series("fluentbit_output_proc_records_total", "null.0"), ""): 19.0,
        Raw(Series("fluentbit_output_latency_seconds_sum", "null.0"), 'my"in'): 3.5,
        Raw(Series("fluentbit_output_latency_seconds_count", "null.0"), 'my"in'): 16.0,
        Raw(Series("fluentbit_output_latency_seconds_sum", "null.0"), "dummy.1"): 0.5,
    }
    assert found.gauges == {
        Series("fluentbit_uptime"): 4.0,
        Series("fluentbit_hot_reloaded_times"): 2.0,
        Series("fluentbit_storage_chunks"): 1.0,
    }
    assert found.is_pending


def test_a_life_of_fluent_bits_counters_is_a_process_and_its_reloads() -> None:
    lives = {found.life for text in (TEXT, TEXT.replace("} 2\n", "} 3\n")) if (found := scrape(text))}
    assert lives == {"7-1/2", "7-1/3"}


def test_the_embedded_engine_names_its_counters_itself() -> None:
    named = 'headrace_engine_counters{id="c1"} 1\n'
    lives = {found.life for process in ("7-1", "8-2") if (found := scrape(TEXT + named, process))}
    assert lives == {"c1"}


def test_an_engine_that_has_gathered_nothing_yet_has_no_numbers() -> None:
    assert scrape("") is None
    assert scrape("fluentbit_storage_chunks 0\n") is None


def test_a_long_name_is_cut() -> None:
    found = scrape(TEXT + f'fluentbit_input_bytes_total{{name="{"x" * 500}"}} 1\n')
    assert found is not None
    (name,) = (raw.series.plugin for raw in found.counters if raw.series.name == "fluentbit_input_bytes_total")
    assert len(name) == MAX_TAG
    assert name.endswith("x…")
