// TensorRT's interface: its own headers where the build found them, else the project's declarations of the same.
#pragma once

#ifdef HYPERSEG_ABI_MAJOR
#include "../abi/tensorrt_abi.h"
#else
#include <NvInferRuntime.h>
#endif
