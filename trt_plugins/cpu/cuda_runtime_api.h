// Takes the place of CUDA's header of this name where the kernels run on the CPU (see cpu.h).
#pragma once
#include "cpu.h"
