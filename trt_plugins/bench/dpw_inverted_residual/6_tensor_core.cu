// Step 6, the library's choice: the two 1x1 convolutions on the tensor cores. What changed: expand and project are
// matrix products of a warp; x, theta and two planes of eight hidden channels lie in shared memory in FP16; between the
// products the depthwise runs in registers, down a strip of four rows, so that a hidden value is loaded for up to three
// outputs at once. FP32 keeps step 5. The source is the library's own.
//
// Cost, cityscapes-m level 4 (34 -> 68 -> 19 channels, 512 patches of 16x16 pixels, FP16): 856 million multiply-adds
// on the tensor cores, a third of them on padding (34 to 40 and 68 to 80 channels, 19 to 24 outputs, 324 to 384 pixels
// of the window), and 85 million on the CUDA cores; 18.2 MB of device memory, the least; 46 KB of shared memory for a
// patch a block, 57 for two.
//
// Lesson: once the products are nearly free, what remains is the depthwise, a tenth of the operations and half of the
// loads, and the bytes that any kernel has to move.
#include "../../kernels/dpw_inverted_residual/dpw_inverted_residual.cu"
