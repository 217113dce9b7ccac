"""What is checked and timed: decoder levels and label heads of the published variants, and shapes that no variant has.

The levels stand here as numbers, because the plan that they come from needs the backbone's library, and the GPU check
needs PyTorch alone; a test compares them with the plan.
"""

from __future__ import annotations

from dataclasses import replace

from trt_plugins.gpu.cases import Case, Head, Operator

# Input size (height, width), whether hidden values cross patches (v0_1), and the levels from stride 32 on:
# input, hidden (0: point-wise), output and theta channels K, weight offset.
_LEVELS: dict[str, tuple[tuple[int, int], bool, list[tuple[int, int, int, int, int]]]] = {
    "voc-l": (
        (512, 512),
        True,
        [
            (98, 0, 96, 9408, 0),
            (132, 0, 34, 4496, 0),
            (48, 96, 12, 6624, 0),
            (22, 44, 8, 1728, 0),
            (16, 32, 6, 992, 0),
            (11, 22, 21, 912, 0),
        ],
    ),
    "cityscapes-m": (
        (512, 1024),
        False,
        [
            (82, 0, 64, 5248, 0),
            (94, 0, 32, 3008, 0),
            (44, 0, 16, 704, 0),
            (24, 48, 16, 2352, 0),
            (34, 68, 19, 4216, 0),
        ],
    ),
    "cityscapes-s": (
        (768, 1536),
        False,
        [
            (130, 0, 32, 4160, 0),
            (62, 0, 16, 992, 0),
            (26, 0, 8, 208, 0),
            (14, 28, 8, 3680, 0),
            (26, 52, 19, 3680, 868),
        ],
    ),
    "camvid-s": (
        (576, 768),
        False,
        [
            (82, 0, 64, 5248, 0),
            (94, 0, 32, 3008, 0),
            (44, 0, 16, 704, 0),
            (24, 48, 16, 2352, 0),
            (22, 44, 12, 1896, 0),
        ],
    ),
    "camvid-l": (
        (768, 1024),
        False,
        [
            (82, 0, 64, 5248, 0),
            (94, 0, 32, 3008, 0),
            (44, 0, 16, 704, 0),
            (24, 48, 16, 2352, 0),
            (22, 44, 16, 2072, 0),
            (21, 42, 12, 1768, 0),
        ],
    ),
}


def published_levels() -> dict[str, tuple[Case, ...]]:
    """Every variant's decoder levels at its published input size and batch 1, coarse to fine."""
    return {name: tuple(_variant_levels(name)) for name in _LEVELS}


def published_heads() -> dict[str, Head]:
    """Every variant's label head at its published input size and batch 1."""
    heads = {}
    for name, levels in published_levels().items():
        height, last = _LEVELS[name][0][0], levels[-1]
        classes = last.operators[-1].out_channels
        heads[name] = Head(f"{name} label head", classes, last.height, last.width, height // last.height)
    return heads


def fused(level: Case) -> Case:
    """Return a level that reads its skip map and the level before by itself, as all but the first do in an engine."""
    return replace(level, name=f"{level.name}, fused", fused=True)


def _variant_levels(name: str) -> list[Case]:
    (height, width), hidden_halo, rows = _LEVELS[name]
    grid = height // 32, width // 32
    cases = []
    for index, (inputs, hidden, outputs, weight_channels, offset) in enumerate(rows):
        if not hidden:
            operators: tuple[Operator, ...] = (Operator(inputs, outputs, weight_offset=offset),)
        elif hidden_halo:
            operators = _three_convolutions(inputs, hidden, outputs, offset)
        else:
            block = Operator(
                inputs, outputs, hidden, (3, 3), activation="relu6", residual=inputs == outputs, weight_offset=offset
            )
            operators = (block,)
        cases.append(
            Case(
                f"{name} level {index}",
                operators,
                grid[0] << index,
                grid[1] << index,
                grid,
                weight_channels,
                previous_channels=rows[index - 1][2] if index else 0,
            )
        )
    return cases


def _three_convolutions(inputs: int, hidden: int, outputs: int, offset: int) -> tuple[Operator, ...]:
    expand = Operator(inputs, hidden, activation="relu6", weight_offset=offset)
    after_expand = offset + expand.theta_size
    depthwise = Operator(
        hidden, hidden, kernel_shape=(3, 3), group=hidden, activation="relu6", weight_offset=after_expand
    )
    project = Operator(hidden, outputs, activation="none", weight_offset=after_expand + depthwise.theta_size)
    return expand, depthwise, project


def small_shapes() -> tuple[Case, ...]:
    """Odd channels, patches, grids, kernels, groups, paddings and offsets, batch 1 to 3."""
    # operator, patch (height, width), grid, batch
    table = [
        (Operator(1, 1, activation="none"), (1, 1), (1, 1), 1),
        (Operator(7, 5, weight_offset=3), (1, 1), (3, 11), 3),
        (Operator(17, 33), (2, 2), (5, 7), 2),
        (Operator(3, 9, activation="relu6", pad_mode="constant"), (4, 4), (1, 3), 1),
        (Operator(13, 70), (3, 5), (2, 3), 2),
        (Operator(6, 4, kernel_shape=(3, 3), group=2), (2, 3), (3, 2), 2),
        (Operator(5, 5, kernel_shape=(3, 3), group=5, pad_mode="constant", weight_offset=1), (7, 1), (2, 9), 1),
        (Operator(4, 6, kernel_shape=(5, 3), activation="none"), (3, 4), (2, 2), 1),
        (Operator(9, 9, kernel_shape=(1, 7), group=3, activation="relu6"), (1, 5), (4, 3), 2),
        (Operator(1, 1, 1, (1, 1)), (1, 1), (2, 1), 1),
        (Operator(5, 3, 7, (3, 3), activation="relu6", weight_offset=2), (1, 1), (3, 5), 2),
        (Operator(9, 9, 11, (3, 3), residual=True), (3, 5), (3, 2), 3),
        (Operator(33, 35, 67, (3, 3), pad_mode="constant", activation="relu6"), (8, 8), (2, 3), 2),
        (Operator(24, 24, 50, (3, 3), activation="relu6", residual=True), (16, 16), (2, 1), 1),
        (Operator(6, 5, 12, (5, 5), activation="none"), (7, 9), (2, 2), 1),
        (Operator(4, 40, 8, (3, 5), pad_mode="constant"), (17, 33), (1, 2), 1),
    ]
    return tuple(
        Case(
            f"small shape {index}",
            (operator,),
            patch[0] * grid[0],
            patch[1] * grid[1],
            grid,
            operator.weight_offset + operator.theta_size + index % 3,  # K may hold more than is read
            batch=batch,
        )
        for index, (operator, patch, grid, batch) in enumerate(table)
    )


def small_levels() -> tuple[Case, ...]:
    """Fused levels of odd channels, patches, kernels, groups and paddings, coordinates or none, batch 1 to 3."""
    # operator, patch (height, width), grid, channels of the previous level, positions, batch
    table = [
        (Operator(4, 3), (1, 1), (2, 2), 1, 1, 1),
        (Operator(8, 16, weight_offset=3), (1, 1), (2, 34), 3, 1, 2),
        (Operator(17, 33), (2, 2), (5, 7), 9, 1, 2),
        (Operator(13, 70), (4, 6), (2, 3), 5, 1, 1),
        (Operator(10, 9, activation="relu6"), (4, 4), (1, 3), 9, 0, 3),
        (Operator(6, 4, kernel_shape=(3, 3), group=2), (2, 4), (3, 2), 2, 0, 2),
        (Operator(6, 6, kernel_shape=(3, 3), group=6, pad_mode="constant"), (7, 2), (2, 5), 3, 1, 1),
        (Operator(9, 5, 11, (3, 3)), (4, 6), (3, 2), 3, 1, 3),
        (Operator(5, 3, 7, (3, 3), activation="relu6", weight_offset=2), (1, 1), (4, 6), 2, 1, 2),
        (Operator(33, 35, 67, (3, 3), pad_mode="constant", activation="relu6"), (8, 8), (2, 3), 16, 1, 2),
        (Operator(24, 20, 50, (3, 3), activation="relu6"), (16, 16), (2, 1), 7, 0, 1),
        (Operator(34, 19, 68, (3, 3), pad_mode="constant", activation="relu6"), (16, 16), (1, 2), 16, 1, 2),
        (Operator(6, 5, 12, (5, 5), activation="none"), (6, 10), (2, 2), 1, 1, 1),
        (Operator(7, 12, 8, (3, 5), pad_mode="constant"), (18, 34), (1, 2), 4, 1, 1),
    ]
    return tuple(
        Case(
            f"small level {index}",
            (operator,),
            patch[0] * grid[0],
            patch[1] * grid[1],
            grid,
            operator.weight_offset + operator.theta_size + index % 3,  # K may hold more than is read
            previous_channels=previous,
            positions=positions,
            fused=True,
            batch=batch,
        )
        for index, (operator, patch, grid, previous, positions, batch) in enumerate(table)
    )


def small_heads() -> tuple[Head, ...]:
    """Odd sizes, few and many classes, scales of every kernel, batch 1 to 3."""
    # classes, height, width, scale, batch
    table = [
        (1, 1, 1, 1, 1),
        (5, 3, 7, 1, 3),
        (2, 1, 1, 2, 1),
        (19, 1, 9, 2, 2),
        (21, 7, 1, 2, 1),
        (256, 5, 6, 2, 1),
        (12, 33, 35, 2, 3),
        (3, 5, 7, 3, 2),
        (256, 4, 3, 4, 1),
        (7, 6, 5, 8, 2),
        (2, 1, 2, 64, 1),
    ]
    return tuple(Head(f"small head {index}", *sizes) for index, sizes in enumerate(table))


def operators_to_check() -> tuple[Case, ...]:
    """Every operator of every published level, plain and fused, with batch 1 and 2, then the small ones."""
    levels = [level for levels in published_levels().values() for level in levels]
    steps = [step for level in levels for step in level.steps]
    steps += [fused(level).steps[0] for level in levels if level.previous_channels]
    with_two = (replace(step, name=f"{step.name}, batch 2", batch=2) for step in steps)
    return (*steps, *with_two, *small_shapes(), *small_levels())


def heads_to_check() -> tuple[Head, ...]:
    """Every published head with batch 1 and 2, then the small ones."""
    heads = tuple(published_heads().values())
    return (*heads, *(replace(head, name=f"{head.name}, batch 2", batch=2) for head in heads), *small_heads())
