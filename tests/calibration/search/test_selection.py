import random
from itertools import combinations

import pytest

from calibration.search.selection import PUT_BACK, Selection, select


class Table:
    """Losses that are counted as they are asked for."""

    def __init__(self, loss_points_of):
        self.asked = []
        self._loss_points_of = loss_points_of

    def __call__(self, layers):
        self.asked.append(layers)
        return self._loss_points_of(layers)


def additive(losses):
    return Table(lambda layers: sum(losses[layer] for layer in layers))


def by_harm(losses, macs):
    return sorted(losses, key=lambda layer: losses[layer] / macs[layer], reverse=True)


def best_of_all(losses, macs, budget):
    """The most multiply-accumulates within the budget, by trying every set."""
    sets = [set(some) for count in range(len(macs) + 1) for some in combinations(macs, count)]
    return max(sum(macs[name] for name in some) for some in sets if sum(losses[name] for name in some) <= budget)


def macs_of(selection: Selection, macs) -> int:
    assert selection.chosen is not None
    return sum(macs[layer] for layer in selection.chosen.layers)


def test_all_layers_within_the_budget_are_taken_after_a_look_at_the_path():
    losses = {f"layer{i}": 0.01 for i in range(40)}
    table = additive(losses)
    selection = select(list(losses), dict.fromkeys(losses, 10), table, 0.5)
    assert selection.chosen is not None
    assert selection.chosen.layers == frozenset(losses)
    assert [len(one.layers) for one in selection.tried] == [40, 30, 20, 10, 0]


def test_the_harmful_layer_goes():
    losses = {"a": 0.05, "bad": 3.0, "b": 0.05, "c": 0.05}
    macs = {"a": 5, "bad": 20, "b": 5, "c": 5}
    selection = select(by_harm(losses, macs), macs, additive(losses), 0.5)
    assert selection.chosen is not None
    assert selection.chosen.layers == {"a", "b", "c"}


def test_a_long_path_takes_few_measurements():
    losses = {f"layer{i}": 0.01 * i for i in range(120)}
    macs = dict.fromkeys(losses, 7)
    table = additive(losses)
    selection = select(by_harm(losses, macs), macs, table, 0.5)
    # 0.01 * (0 + 1 + ... + 9) = 0.45, and with 10 it would be 0.55; no other layer has room in what is left.
    assert selection.chosen is not None
    assert selection.chosen.layers == {f"layer{i}" for i in range(10)}
    assert len(table.asked) == len(set(table.asked)) <= 5 + 5 + 8


def test_what_has_room_beside_the_path_is_put_back():
    # By harm the path gives up b before a, and c first: {a} stays. c alone has room beside it, b has not.
    losses = {"a": 0.30, "b": 0.40, "c": 0.15}
    macs = {"a": 30, "b": 30, "c": 5}
    selection = select(by_harm(losses, macs), macs, additive(losses), 0.5)
    assert selection.chosen is not None
    assert selection.chosen.layers == {"a", "c"}
    assert selection.chosen.found_by == PUT_BACK
    assert macs_of(selection, macs) == best_of_all(losses, macs, 0.5)


def test_what_was_put_back_stays_while_more_is_tried():
    losses = {"big": 9.0, "a": 0.1, "b": 0.1, "c": 0.1, "d": 0.45}
    macs = {"big": 100, "a": 1, "b": 1, "c": 1, "d": 100}
    # By harm: a, b, c, big, d. Only d stays on the path; beside it there is room for a or b or c, not for two.
    one = select(by_harm(losses, macs), macs, additive(losses), 0.56)
    assert one.chosen is not None
    assert len(one.chosen.layers) == 2
    # With more room all three come back, one by one.
    three = select(by_harm(losses, macs), macs, additive(losses), 0.76)
    assert three.chosen is not None
    assert three.chosen.layers == {"a", "b", "c", "d"}


@pytest.mark.parametrize("kept", range(1, 24))
def test_the_end_of_the_path_is_found_exactly(kept: int):
    """Without another try, and where the path is monotone."""
    macs = {f"layer{i}": 1 + i % 5 for i in range(24)}
    table = Table(lambda layers: len(layers) / kept)
    selection = select(list(macs), macs, table, 1.0, put_back_tries=0)
    assert selection.chosen is not None
    assert len(selection.chosen.layers) == kept


@pytest.mark.parametrize("seed", range(20))
def test_close_to_the_best_of_all_sets_where_losses_add_up(seed: int):
    rng = random.Random(seed)
    macs = {f"layer{i}": rng.randint(1, 100) for i in range(11)}
    losses = {layer: rng.expovariate(5) for layer in macs}
    if min(losses.values()) > 0.5:
        pytest.skip("nothing fits")
    selection = select(by_harm(losses, macs), macs, additive(losses), 0.5)
    assert selection.chosen is not None
    assert sum(losses[layer] for layer in selection.chosen.layers) <= 0.5
    # A greedy knapsack misses its optimum by less than the largest thing that did not fit.
    assert macs_of(selection, macs) > best_of_all(losses, macs, 0.5) - max(macs.values())


@pytest.mark.parametrize("seed", range(20))
def test_whatever_the_losses_the_largest_measured_set_within_the_budget_is_chosen(seed: int):
    """Losses that do not add up, nor grow with the set, nor follow the order."""
    rng = random.Random(seed)
    macs = {f"layer{i}": rng.randint(1, 100) for i in range(30)}
    table = Table(lambda layers: random.Random(f"{seed} {sorted(layers)}").gauss(0.4, 0.4) if layers else 0.0)
    order = rng.sample(list(macs), len(macs))
    selection = select(order, macs, table, 0.5)
    assert [one.layers for one in selection.tried] == table.asked
    within = [one for one in selection.tried if one.layers and one.loss_points <= 0.5]
    assert selection.chosen in within
    assert macs_of(selection, macs) == max(sum(macs[layer] for layer in one.layers) for one in within)


@pytest.mark.parametrize("fp16_loss", [0.0, 0.7])
def test_no_layer_within_the_budget(fp16_loss: float):
    selection = select(["a", "b"], {"a": 1, "b": 2}, Table(lambda layers: 9.0 if layers else fp16_loss), 0.5)
    assert selection.chosen is None
    assert frozenset() in {one.layers for one in selection.tried}


def test_no_layers():
    selection = select([], {}, Table(lambda layers: 0.0), 0.5)
    assert selection.chosen is None
