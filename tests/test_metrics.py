"""`InferenceMetrics` by hand: the rates, percentiles and times, against a clock that the test moves."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgequake_llm import InferenceMetrics, InvalidRequestError


class Clock:
    """Seconds that pass when told."""

    def __init__(self, now=1000.0):
        self.now = now

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def metrics(clock):
    return InferenceMetrics(clock=clock)


def test_before_the_first_token(metrics, clock):
    clock.now += 0.5
    assert metrics.ttft_ms is None
    assert metrics.total_ms == pytest.approx(500)
    assert metrics.output_tokens == 0
    assert metrics.input_tokens == 0
    assert metrics.tokens_per_second == 0.0
    assert metrics.itl_p50_ms is None
    assert metrics.inter_token_ms(0.5) is None


def test_the_first_token_is_recorded_once(metrics, clock):
    clock.now += 0.25
    metrics.record_first_token()
    clock.now += 1
    metrics.record_first_token()
    assert metrics.ttft_ms == pytest.approx(250)


def test_the_loop_of_the_documentation_shows_a_rate(metrics, clock):
    """`for text in stream: metrics.add_output_tokens(...)` and then `tokens_per_second`, never 0.0 once tokens came."""
    shown = []
    for text in ["Four", " more", " words", " here"]:
        clock.now += 0.1
        metrics.add_output_tokens(len(text) // 4)
        shown.append(metrics.tokens_per_second)
    assert metrics.ttft_ms == pytest.approx(100)
    assert metrics.output_tokens == 4
    assert all(rate > 0 for rate in shown)
    assert shown[-1] == pytest.approx(4 / 0.3)


def test_the_rate_does_not_fall_after_the_end(metrics, clock):
    for _ in range(5):
        clock.now += 0.1
        metrics.add_output_tokens(3)
    rate, total = metrics.tokens_per_second, metrics.total_ms
    assert rate == pytest.approx(15 / 0.4)
    metrics.finish()
    for _ in range(3):
        clock.now += 3600
        metrics.finish()
        assert metrics.tokens_per_second == pytest.approx(rate)
        assert metrics.total_ms == pytest.approx(total)


def test_the_rate_does_not_fall_before_finish_either(metrics, clock):
    metrics.add_output_tokens(3)
    clock.now += 0.1
    metrics.add_output_tokens(3)
    rate = metrics.tokens_per_second
    clock.now += 3600
    assert metrics.tokens_per_second == rate


def test_one_burst_counts_over_the_whole_time(metrics, clock):
    clock.now += 0.5
    metrics.add_output_tokens(20)
    metrics.finish()
    clock.now += 100
    assert metrics.tokens_per_second == pytest.approx(40)
    assert metrics.itl_p50_ms is None


def test_no_time_at_all_is_no_division_by_zero(metrics):
    metrics.add_output_tokens(20)
    assert metrics.tokens_per_second == 0.0
    metrics.finish()
    assert metrics.tokens_per_second == 0.0


def test_a_clock_that_goes_back_or_mad_breaks_nothing(metrics, clock):
    metrics.add_output_tokens(1)
    for now in (999.0, -5.0, math.nan, math.inf, 1e300, 1001.0):
        clock.now = now
        metrics.add_output_tokens(1)
        assert metrics.total_ms >= 0
        assert metrics.tokens_per_second >= 0
        assert metrics.itl_p99_ms >= 0
    assert metrics.output_tokens == 7


def test_a_clock_that_fails_raises_its_own_error():
    def broken():
        raise LookupError("no time")

    with pytest.raises(LookupError, match="no time"):
        InferenceMetrics(clock=broken)
    with pytest.raises(TypeError):
        InferenceMetrics(clock=lambda: "noon")
    with pytest.raises(TypeError):
        InferenceMetrics(clock=5)


def test_counts_are_checked_and_do_not_overflow(metrics, clock):
    with pytest.raises(InvalidRequestError, match="-1"):
        metrics.add_output_tokens(-1)
    with pytest.raises(InvalidRequestError, match="whole number"):
        metrics.add_output_tokens(2**64)
    for wrong in (1.5, "1", None, True):
        with pytest.raises(InvalidRequestError, match="whole number"):
            metrics.add_output_tokens(wrong)
    for _ in range(4):
        clock.now += 1
        metrics.add_output_tokens(2**63 - 1)
    assert metrics.output_tokens == 2**64 - 1
    assert metrics.tokens_per_second > 0


def test_quantiles_are_from_0_to_1(metrics):
    for wrong in (-0.1, 1.1, math.nan, math.inf):
        with pytest.raises(InvalidRequestError, match="from 0 to 1"):
            metrics.inter_token_ms(wrong)


@given(gaps=st.lists(st.integers(0, 10_000_000), min_size=1, max_size=60), q=st.floats(0, 1))
def test_percentiles_are_by_nearest_rank(gaps, q):
    """Independent reading of the definition: the smallest gap that a share of at least q of all gaps does not exceed."""
    clock = Clock(0.0)
    metrics = InferenceMetrics(clock=clock)
    metrics.record_first_token()
    passed = 0
    for gap in gaps:  # microseconds, added up as whole numbers
        passed += gap
        clock.now = passed / 1e6
        metrics.add_output_tokens(1)
    ordered = sorted(gaps)

    def expected(share):
        return next(gap for n, gap in enumerate(ordered, 1) if n >= share * len(ordered)) / 1000

    for share, given_ms in [
        (q, metrics.inter_token_ms(q)),
        (0.5, metrics.itl_p50_ms),
        (0.95, metrics.itl_p95_ms),
        (0.99, metrics.itl_p99_ms),
    ]:
        # A gap is kept in whole microseconds; sums of floats may fall on either side of one.
        assert given_ms == pytest.approx(expected(share), abs=0.0021)


def test_all_figures_in_a_dict_and_a_line(metrics, clock):
    clock.now += 0.1
    metrics.add_output_tokens(2)
    clock.now += 0.1
    metrics.add_output_tokens(2)
    figures = metrics.to_dict()
    assert figures == {name: getattr(metrics, name) for name in figures}
    assert set(figures) >= {"ttft_ms", "total_ms", "tokens_per_second", "itl_p50_ms", "output_tokens", "input_tokens"}
    assert repr(metrics).startswith("InferenceMetrics(ttft_ms=100.0, total_ms=200.0, output_tokens=4")


def test_without_a_clock_it_counts_by_the_systems(monkeypatch):
    metrics = InferenceMetrics()
    first = metrics.total_ms
    metrics.record_first_token()
    assert metrics.ttft_ms >= first >= 0
    assert metrics.total_ms >= metrics.ttft_ms
