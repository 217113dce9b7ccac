"""What the steps of ../bench cost, counted from what their sources say: no machine is needed.

Counted are multiply-adds, padding included; the bytes of every tensor, once for each kernel that reads or writes it,
whatever a cache keeps between kernels; and accesses, loads and stores of a whole warp in caches or shared memory, of
which a multiprocessor does one a clock while it starts four multiply-adds. An access moves at most 128 bytes; a value
that all lanes want is one access. Biases, addresses, conversions between types and waiting are not counted, so a time
that follows from this is a lower bound.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, prod

from trt_plugins.gpu.cases import Case, Head, Operator
from trt_plugins.gpu.floors import head_work, level_work, operator_work

LANES = 32
VALUE_BYTES = 2  # FP16
OUTPUTS = 24  # that a thread of steps 2, 4 and 5 keeps in registers
TILE = 16  # pixels, each way
PLANE = 8  # hidden channels, or channels of a product on tensor cores
_RESIDENT = 5  # planes of x that a warp of steps 7 and 8 reads once and keeps in registers


@dataclass(frozen=True)
class Device:
    """A GPU's rates by its data sheet; the bandwidth of H200 is assumed, 90 % of its data sheet's 4.8 TB/s."""

    name: str
    multiprocessors: int
    clock_hz: float
    bytes_per_s: float
    matrix_multiply_adds: int  # FP16, of a multiprocessor in a clock


H200 = Device("H200", 132, 1.98e9, 4.3e12, 2048)
ORIN = Device("AGX Orin 64 GB", 16, 1.3e9, 204e9, 1024)
ORIN_NX = Device("Orin NX 16 GB", 8, 0.918e9, 102e9, 1024)
RTX_4090 = Device("RTX 4090", 128, 2.52e9, 1008e9, 256)  # products summed in FP32, at half the rate of FP16 sums


@dataclass(frozen=True)
class Cost:
    """What one launch computes and moves."""

    multiply_adds: int  # on the CUDA cores
    matrix_multiply_adds: int  # on the tensor cores
    memory_bytes: int
    accesses: int
    shared_bytes: int  # of a block

    def least_us(self, device: Device) -> float:
        """Microseconds of the unit that has most to do."""
        clocks = max(
            self.multiply_adds / (4 * LANES), self.accesses, self.matrix_multiply_adds / device.matrix_multiply_adds
        )
        return 1e6 * max(clocks / device.multiprocessors / device.clock_hz, self.memory_bytes / device.bytes_per_s)


@dataclass(frozen=True)
class _Block:
    """Sizes of a DPWInvertedResidual whose patches are whole tiles."""

    inputs: int
    hidden: int
    outputs: int
    taps: int
    pixels: int  # of the map
    tiles: int
    window: int  # pixels of a tile with its halo
    least_bytes: int

    @property
    def windows(self) -> int:
        """Pixels of all windows."""
        return self.tiles * self.window


def _block(case: Case) -> _Block:
    (operator,) = case.operators
    if operator.hidden_channels is None or operator.kernel_shape != (3, 3):
        raise ValueError(f"{case.name} is not a 3x3 DPWInvertedResidual")
    if any(size // grid != TILE for size, grid in zip((case.height, case.width), case.grid, strict=True)):
        raise ValueError(f"the patches of {case.name} are not {TILE}x{TILE} pixels")
    return _Block(
        operator.in_channels,
        operator.hidden_channels,
        operator.out_channels,
        prod(operator.kernel_shape),
        case.batch * case.height * case.width,
        case.batch * prod(case.grid),
        (TILE + 2) ** 2,
        _least_bytes(case, operator),
    )


def _least_bytes(case: Case, operator: Operator) -> int:
    return operator_work(case, operator, VALUE_BYTES).bytes


def _accesses(values: int) -> int:
    """Return accesses of a warp that threads need for so many values, one each."""
    return ceil(values / LANES)


def value_a_thread(case: Case) -> Cost:
    """Count bench/dpw_inverted_residual/1_value_a_thread.cu."""
    b = _block(case)
    values = b.pixels * b.outputs
    hidden = b.taps * (b.inputs + 1)
    loads = b.taps * (2 * b.inputs + 1) + 1
    return Cost(values * b.hidden * (hidden + 1), 0, b.least_bytes, _accesses(values * (b.hidden * loads + 1)), 0)


def pixel_a_thread(case: Case) -> Cost:
    """Count 2_pixel_a_thread.cu."""
    b = _block(case)
    multiply_adds = b.hidden * (b.taps * (b.inputs + 1) + OUTPUTS)
    accesses = b.hidden * (b.taps * (2 * b.inputs + 1) + OUTPUTS) + b.outputs
    return Cost(b.pixels * multiply_adds, 0, b.least_bytes, _accesses(b.pixels * accesses), 0)


def three_kernels(case: Case) -> Cost:
    """Count 3_three_kernels.cu, which writes and reads windows and filtered pixels of all hidden channels."""
    b = _block(case)
    multiply_adds = b.hidden * (b.windows * b.inputs + b.pixels * (b.taps + b.outputs))
    stores = b.hidden * (b.windows + b.pixels) + b.pixels * b.outputs
    between = 2 * VALUE_BYTES * b.hidden * (b.windows + b.pixels)
    return Cost(multiply_adds, 0, b.least_bytes + between, _accesses(2 * multiply_adds + stores), 0)


def shared_memory(case: Case) -> Cost:
    """Count 4_shared_memory.cu: floats of one hidden channel in shared memory."""
    b = _block(case)
    multiply_adds = b.hidden * (b.windows * b.inputs + b.pixels * (b.taps + OUTPUTS))
    accesses = b.hidden * (b.windows * (2 * b.inputs + 1) + b.pixels * (2 * b.taps + OUTPUTS)) + b.pixels * b.outputs
    return Cost(multiply_adds, 0, b.least_bytes, _accesses(accesses), 4 * b.window)


def pixel_tile(case: Case) -> Cost:
    """Count 5_pixel_tile.cu: eight hidden channels at a time, four weights a load."""
    b = _block(case)
    groups = ceil(b.hidden / PLANE)
    multiply_adds = groups * PLANE * b.windows * b.inputs + b.hidden * b.pixels * (b.taps + OUTPUTS)
    theta = groups * PLANE * (b.inputs + b.taps + OUTPUTS)
    accesses = (
        groups * b.windows * (b.inputs * (1 + PLANE // 4) + PLANE)
        + b.hidden * b.pixels * (2 * b.taps + OUTPUTS // 4)
        + b.pixels * b.outputs
        + 2 * b.tiles * theta
    )
    shared_bytes = 4 * PLANE * (b.inputs + OUTPUTS + b.taps + b.window)
    return Cost(multiply_adds, 0, b.least_bytes, _accesses(accesses), shared_bytes)


def tensor_core(case: Case) -> Cost:
    """Count 6_tensor_core.cu with one patch a block; its accesses are a warp's, of two FP16 values a lane.

    A warp owns four rows of eight columns, and two planes of hidden channels are expanded at a time.
    """
    b, strip_rows, together = _block(case), 4, 2
    warps = TILE // strip_rows * TILE // 8
    products = ceil(ceil(b.window / 16) / warps)  # of 16 pixels that a warp expands at a time
    planes, depth, outputs = ceil(b.hidden / PLANE), ceil(b.inputs / PLANE), ceil(b.outputs / PLANE)
    passes = ceil(planes / together)
    matrix = passes * depth * warps * products * together + planes * outputs * warps * strip_rows // 2
    expand = depth * warps * (planes + passes * products * 2) + planes * warps * products * 2
    depthwise = planes * warps * 3 * (3 + strip_rows + 2)
    project = planes * warps * outputs
    # Rows of an odd number of planes; x is loaded a value a lane and stored eight a lane.
    x_row, project_row = (PLANE * (n + 1 - n % 2) for n in (depth, planes))
    theta = planes * PLANE * (x_row + b.taps) + outputs * PLANE * project_row
    staged = _accesses(b.window * depth * (PLANE + 4)) + 2 * _accesses(theta)
    written = _accesses(TILE**2 * b.outputs)
    shared_bytes = VALUE_BYTES * (b.window * (x_row + together * PLANE) + theta) + 2 * 4 * planes * PLANE
    return Cost(
        b.tiles * planes * PLANE * b.taps * TILE**2,
        b.tiles * matrix * 16 * PLANE * 8,
        b.least_bytes,
        b.tiles * (expand + depthwise + project + staged + written),
        shared_bytes,
    )


def fewer_instructions(case: Case, strip_rows: int = 4) -> Cost:
    """Count 7_fewer_instructions.cu: x stays in registers, one plane is expanded while another is filtered.

    A warp owns ``strip_rows`` rows of eight columns, the library's number is the default. Of the depthwise
    multiply-adds an instruction does two.
    """
    b = _block(case)
    # x is loaded a value a lane and stored eight a lane.
    staged_x = b.window * ceil(b.inputs / PLANE) * (PLANE + 4)
    return _in_registers(b, b.inputs, staged_x, 0, b.least_bytes, strip_rows)


def fused_level(case: Case) -> Cost:
    """Count 8_fused_level.cu, the same kernel on a map that it makes of a skip map and the previous level."""
    b, previous = _block(case), case.previous_channels
    skip_depth, previous_depth = ceil((b.inputs - previous) / PLANE), ceil(previous / PLANE)
    skip = b.window * (case.skip_channels + 4 * skip_depth)
    # Four channels of four pixels are made of sixteen values and stored two a lane, with three interpolations a value.
    enlarged = b.window // 4 * 2 * previous_depth * (16 + 8)
    interpolated = b.tiles * b.window * previous * 3 * 2
    least_bytes = level_work(case, VALUE_BYTES).bytes
    return _in_registers(b, PLANE * (skip_depth + previous_depth), skip + enlarged, interpolated, least_bytes)


def _in_registers(
    b: _Block, inputs: int, staged_x: int, interpolated: int, least_bytes: int, strip_rows: int = 4
) -> Cost:
    warps = TILE // strip_rows * TILE // 8
    products = ceil(ceil(b.window / 16) / warps)  # of 16 pixels that a warp expands
    planes, depth, outputs = ceil(b.hidden / PLANE), ceil(inputs / PLANE), ceil(b.outputs / PLANE)
    if depth > _RESIDENT:
        raise ValueError(f"{inputs} channels of x do not stay in registers")
    matrix = planes * warps * (depth * products + outputs * strip_rows // 2)
    expand = warps * depth * (2 * products + planes) + planes * warps * products * 2
    depthwise = planes * warps * 3 * (3 + strip_rows + 2)
    project = planes * warps * outputs
    # Rows of an odd number of planes.
    x_row, project_row = (PLANE * (n + 1 - n % 2) for n in (depth, planes))
    theta = planes * PLANE * (x_row + b.taps) + outputs * PLANE * project_row
    staged = _accesses(staged_x) + 2 * _accesses(theta)
    written = _accesses(TILE**2 * b.outputs)
    shared_bytes = VALUE_BYTES * (b.window * (x_row + 2 * PLANE) + theta) + 2 * 4 * planes * PLANE
    return Cost(
        b.tiles * planes * PLANE * b.taps * TILE**2 // 2 + interpolated,
        b.tiles * matrix * 16 * PLANE * 8,
        least_bytes,
        b.tiles * (expand + depthwise + project + staged + written),
        shared_bytes,
    )


def conv_value_a_thread(case: Case) -> Cost:
    """Count bench/dpwconv/1_value_a_thread.cu on 1x1 kernels without groups."""
    (operator,) = case.operators
    values = case.batch * case.height * case.width * operator.out_channels
    accesses = values * (2 * operator.in_channels + 1)
    return Cost(values * operator.in_channels, 0, _least_bytes(case, operator), _accesses(accesses), 0)


def conv_lane_per_patch(case: Case) -> Cost:
    """Count bench/dpwconv/2_lane_per_patch.cu on patches of one pixel: two outputs a thread, eight partial sums."""
    (operator,) = case.operators
    values = case.batch * case.height * case.width * operator.out_channels
    slices, outputs = 8, 2
    loads = values * operator.in_channels * (outputs + 1) // outputs
    accesses = _accesses(loads + values * (2 * slices + 1))
    shared_bytes = 4 * slices * LANES * outputs
    return Cost(values * operator.in_channels, 0, _least_bytes(case, operator), accesses, shared_bytes)


_COMPARISON = 4  # instructions that keep the better of two classes: two comparisons, two selections


def enlarge_then_arg_max(head: Head) -> Cost:
    """Count bench/label_head/1_enlarge_then_arg_max.cu, which writes and reads the enlarged logits."""
    labels = head.batch * head.height * head.width * head.scale**2
    values = head.classes * labels
    multiply_adds = values * (6 + _COMPARISON)
    between = 2 * VALUE_BYTES * values
    accesses = _accesses(values * (4 + 1 + 1) + labels)
    return Cost(multiply_adds, 0, head_work(head, VALUE_BYTES).bytes + between, accesses, 0)


def fused_label_head(head: Head) -> Cost:
    """Count 2_fused.cu at scale 2: eight labels a thread, from six logits a class."""
    if head.scale != 2:
        raise ValueError(f"{head.name} is not enlarged twice")
    threads = head.batch * (head.height // 2 + 1) * (head.width + 1)
    multiply_adds = threads * head.classes * (28 + 8 * _COMPARISON)
    return Cost(multiply_adds, 0, head_work(head, VALUE_BYTES).bytes, _accesses(threads * (6 * head.classes + 8)), 0)
