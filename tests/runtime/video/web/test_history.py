from runtime.video.web.history import History


def test_each_half_second_has_its_mean_and_worst():
    history = History()
    for now_s, fps, latency_ms in [(100.0, 10, 5), (100.4, 20, 15), (101.2, 30, 7)]:
        history.add(now_s, fps, latency_ms)
    series = history.series(101.3)
    assert {name: values[-3:] for name, values in series.items()} == {
        "fps": [15.0, None, 30.0],
        "latency_ms": [10.0, None, 7.0],
        "worst_latency_ms": [15, None, 7],
    }
    assert {len(values) for values in series.values()} == {120}
    assert series["fps"][:-3] == [None] * 117


def test_silence_moves_the_curve_until_it_is_forgotten():
    history = History()
    history.add(100.0, 10, 5)
    assert history.series(159.9)["fps"] == [10.0] + [None] * 119
    assert history.series(160.0)["fps"] == [None] * 120


def test_a_long_run_keeps_a_minute():
    history = History()
    for step in range(1000):
        history.add(step * 0.5, step, 1)
    assert history.series(499.5)["fps"] == list(range(880, 1000))
