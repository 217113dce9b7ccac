import numpy as np
import pytest

from export.bench import TIMED_CALLS, UNTIMED_CALLS, table_row, time_in_turn
from training.network.variants import VARIANTS


def test_all_are_called_in_turn_and_every_other_round_backwards():
    called = []
    latencies_ms = time_in_turn([lambda: called.append("eager"), lambda: called.append("exported")], rounds=3)
    runs = UNTIMED_CALLS + TIMED_CALLS
    order = ["eager", "exported", "exported", "eager", "eager", "exported"]
    assert called == [name for name in order for _ in range(runs)]
    assert latencies_ms.shape == (3, 2)
    assert (latencies_ms > 0).all()


@pytest.mark.parametrize(
    ("with_operators", "end"), [([], "      3.00            not built       -"), ([40, 20, 50], "40.0 ms    6.00")]
)
def test_ratios_are_those_of_a_round(with_operators, end):
    latencies_ms = np.array([[100.0, 200.0, 300.0], [50.0, 40.0, 100.0], *([with_operators] if with_operators else [])])
    row = table_row(VARIANTS["street-tiny"], latencies_ms.T)
    assert row.split()[:9] == ["street-tiny", "128", "x", "256", "200.0", "ms", "50.0", "ms", "3.00"]
    assert row.endswith(end.lstrip())
