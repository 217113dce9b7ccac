// Step 7, the library's choice: the same products with half of the instructions around them. What changed: a warp
// expands the same pixels of every plane and keeps its share of x in registers; the depthwise multiplies two channels
// at once, in FP16; bounds take the place of activations, for two values at once and without a branch; indices are
// counted on, not divided; a block takes two or four patches where there are enough, whose weights then share what
// reading them costs. One plane of hidden channels is written while the other is read, which halves the
// barriers. The source is the library's own.
//
// Cost, cityscapes-m level 4 (34 -> 68 -> 19 channels, 512 patches of 16x16 pixels, FP16): 793 million multiply-adds on
// the tensor cores (no tenth plane of nine any more) and 85 million on the CUDA cores, two to an instruction; 18.2 MB
// of device memory, the least; 46 KB of shared memory for a patch a block, 57 for two. About 29,000 instructions of a
// warp a tile (sm_87): 7,300 clocks, where the accesses take 4,300.
//
// Lesson: count what the compiler made, not only what the source says. Conversions, branches and divisions do not show
// in multiply-adds, bytes or loads, and were twice as much as all three.
#include "../../kernels/dpw_inverted_residual/dpw_inverted_residual.cu"
