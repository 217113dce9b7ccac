// Step 2, the library's choice: a lane a patch, two output channels at a time, the input channels dealt out to the
// eight warps of a block. The source is the library's own.
//
// Cost, cityscapes-m level 0 (82 -> 64 channels, 512 patches of one pixel, FP16): operations and bytes as before, 2 KB
// of shared memory a block to add up the warps' sums. 512 blocks hold 131,072 threads with sums of at most 11 products
// for two outputs each, and four channels' loads are started together.
//
// Lesson: where a value is used once, the only thing left to gain is more reads on their way. Larger patches gain more:
// with 2x2 and 4x4 pixels the naive kernel loads a weight for every pixel, this one for every patch.
#include "../../kernels/dpwconv/dpwconv.cu"
