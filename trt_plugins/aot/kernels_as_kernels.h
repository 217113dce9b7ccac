// Gives __global__ and __launch_bounds__ their meaning back; written out, because NVRTC restores no macros.
#ifndef HYPERSEG_ON_CPU
#undef __global__
#undef __launch_bounds__
#define __global__ __attribute__((global))
#define __launch_bounds__(...) __attribute__((launch_bounds(__VA_ARGS__)))
#endif
