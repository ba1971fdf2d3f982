"""Latency, load, throughput, memory and prices: by hand, and of a graph that is really run."""

from __future__ import annotations

import time

import numpy as np
import psutil
import pytest
from fedstill_server.inspection.energy import Energy
from fedstill_server.inspection.errors import InspectionError
from fedstill_server.inspection.price import efficiency_of, price_of
from fedstill_server.inspection.speed.latency import latency_of, latency_of_times
from fedstill_server.inspection.speed.load import busy_processes
from fedstill_server.inspection.speed.machine import this_machine
from fedstill_server.inspection.speed.resident import resident_set
from fedstill_server.inspection.speed.throughput import throughput_of
from fedstill_server.pages.plot import PlotAxis, PlotLine, draw_plot
from onnx import TensorProto, helper, numpy_helper


def test_percentiles_and_jitter_by_hand() -> None:
    # 1 to 100 us, up and down: every step from one to the next is of 1 us but one of 0.
    times = [1e-6 * one for one in (*range(2, 101, 2), *range(99, 0, -2))]
    measured = latency_of_times(times, busy_processes=3)
    assert measured.p50_us == pytest.approx(51)
    assert measured.p95_us == pytest.approx(96)
    assert measured.p99_us == pytest.approx(100)
    assert measured.mean_us == pytest.approx(50.5)
    assert measured.jitter_us == pytest.approx((98 * 2 + 1) / 99)
    assert (measured.answers, measured.busy_processes) == (100, 3)


def test_steady_answers_do_not_jitter() -> None:
    assert latency_of_times([2e-6] * 12).jitter_us == 0


def test_measuring_ends_in_time_and_answers_ten_at_least() -> None:
    began = time.perf_counter()
    slow = latency_of(lambda turn: time.sleep(0.01), seconds=0.02)
    assert slow.answers == 10
    assert slow.p50_us > 9_000
    assert time.perf_counter() - began < 2


def test_throughput_by_batch() -> None:
    # A batch takes 1 ms, however large: twice the size is nearly twice the examples a second.
    found = throughput_of(lambda size: time.sleep(0.001), seconds=0.1, most=16)
    assert [one.batch for one in found] == [1, 2, 4, 8, 16]
    assert found[-1].examples_per_second > 4 * found[0].examples_per_second
    slow = throughput_of(lambda size: time.sleep(0.03 * size), seconds=0.02)
    assert len(slow) < 4  # what takes long is not tried in larger batches


def test_busy_processes_compute_and_end() -> None:
    with busy_processes(2, seconds=20) as numbers:
        assert len(set(numbers)) == 2
        one = psutil.Process(numbers[0])
        before = one.cpu_times().user
        deadline = time.monotonic() + 10
        while one.cpu_times().user - before < 0.03 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert one.cpu_times().user > before
    assert not any(psutil.pid_exists(number) for number in numbers)


def test_they_end_where_measuring_fails() -> None:
    with pytest.raises(InspectionError), busy_processes(1, seconds=20) as numbers:
        raise InspectionError("of the test")
    assert not psutil.pid_exists(numbers[0])


def test_one_that_nobody_ends_gives_up() -> None:
    with busy_processes(1, seconds=0.05) as numbers:
        psutil.Process(numbers[0]).wait(10)


def test_a_million_answers_by_hand() -> None:
    # 3.6 J an answer: 1 kWh a million. 36 ms an answer: 10 hours a million; 1,000 a second: 0.2778 hours.
    energy = Energy(microjoules_per_answer=3.6e6, cpu_microseconds_per_answer=1.0, watts=100.0, how="")
    price = price_of(energy, seconds_per_answer=0.036, answers_per_second=1000.0, kwh=0.3, machine_hour=0.5)
    assert price.energy == pytest.approx(0.3)
    assert price.hours == pytest.approx(10)
    assert price.machine == pytest.approx(5)
    assert price.machine_batched == pytest.approx(0.5 / 3.6)
    assert price.total == pytest.approx(5.3)


def test_what_a_watt_and_a_joule_buy() -> None:
    energy = Energy(microjoules_per_answer=500.0, cpu_microseconds_per_answer=1.0, watts=4.0, how="")
    bought = efficiency_of(energy, accuracy=0.8)
    assert bought.accuracy_per_watt == pytest.approx(0.2)
    assert bought.answers_per_joule == pytest.approx(2000)
    assert bought.right_answers_per_joule == pytest.approx(1600)


def test_a_fresh_process_shows_what_weights_take() -> None:
    weight = np.ones((1000, 4000), np.float32)  # 16 MB
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["logits"])],
        "large",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1000])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 4000])],
        [numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    found = resident_set(model.SerializeToString(), {"x": np.ones((1, 1000), np.float32)})
    assert found.graph_bytes > 14e6
    assert found.before_bytes < found.loaded_bytes <= found.peak_bytes
    with pytest.raises(InspectionError, match="a fresh process failed"):
        resident_set(b"no graph", {"x": np.ones(1, np.float32)})


def test_the_machine_says_what_it_is() -> None:
    machine = this_machine(threads=2)
    assert machine.cores >= 1
    assert 0 <= machine.busy <= 1
    assert "ONNX Runtime" in str(machine)


def test_a_plot_is_whole() -> None:
    plot = draw_plot(
        title="t",
        caption="c",
        x=PlotAxis(label="size <n>", log=True),
        y=PlotAxis(label="accuracy", percent=True),
        lines=[PlotLine(label="a & b", x=[100, 10_000], y=[0.5, 0.9], low=[0.4, 0.8], high=[0.6, 0.95])],
        marks=[(1000, "knee")],
    )
    assert plot.svg.count("<circle") == 2
    assert "size &lt;n&gt;" in plot.svg
    assert "a &amp; b" in plot.svg
    assert "50 % at 100; " not in plot.alt
    assert plot.alt == "accuracy over size <n>. a & b: 50 % at 100, 90 % at 10k"
