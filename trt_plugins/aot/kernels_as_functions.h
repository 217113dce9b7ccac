// From here on a kernel's definition makes a function that an entry calls; kernels_as_kernels.h ends it.
//
// TensorRT gives a kernel pointers and numbers of 32 bits, no structs: so a node's entry is the kernel, and what
// trt_plugins/kernels calls one is inlined into it. CUDA's own headers must have been read before. For NVRTC, and for
// the CPU's compiler, to which both are functions anyway.
#ifndef HYPERSEG_ON_CPU
#undef __global__
#undef __launch_bounds__
#define __global__ __device__ __forceinline__
#define __launch_bounds__(...)
#endif
