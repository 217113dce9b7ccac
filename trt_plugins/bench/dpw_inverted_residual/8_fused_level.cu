// Step 8, the library's choice for a level of the decoder: the map that the operator reads is never stored. What
// changed: of a level's input only the skip map is read as it is; coordinates are computed, and the previous level's
// output is enlarged where it is read: a thread takes the four pixels that lie between the same four cells of the
// smaller map, so that four reads give four values. In shared memory the previous level's channels come first, and each
// kind fills whole eights; the weights lie in the same order. Plain maps keep step 7. The source is the library's own.
//
// Cost, cityscapes-m level 4 (2 + 16 + 16 -> 68 -> 19 channels, 512 patches of 16x16 pixels, FP16): products and
// depthwise as before, and about 4,700 more instructions of a warp a tile, a sixth; 14.5 MB of device memory instead of
// 18.2. Gone are the two kernels that enlarged the previous map and put the three together, with the 23.1 MB that they
// read and wrote.
//
// Lesson: the bytes between two kernels are worth more than the instructions that make them anew.
#include "../../kernels/dpw_inverted_residual/dpw_inverted_residual.cu"
