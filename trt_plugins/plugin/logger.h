// Messages to the user, through the logger of the TensorRT that loaded this library.
#pragma once

#include <string>

#include "tensorrt.h"

#if NV_TENSORRT_MAJOR == 8 && NV_TENSORRT_MINOR < 6
// TensorRT 8.5 has no loadLibrary and so no finder; a program that loads this library there may pass one of its own.
namespace nvinfer1 {
class ILoggerFinder {
  public:
    virtual ILogger* findLogger() = 0;

  protected:
    virtual ~ILoggerFinder() = default;
};
}  // namespace nvinfer1
#endif

namespace hyperseg {

// TensorRT calls this once, when it loads the library; until then messages go to stderr.
void setLoggerFinder(nvinfer1::ILoggerFinder* finder) noexcept;

void logError(char const* message) noexcept;

// Logs "name: problem".
inline void logProblem(char const* name, std::string const& problem) {
    logError((std::string(name) + ": " + problem).c_str());
}

// TensorRT calls functions that must not throw, but memory may run out in them: then the result is failure.
template <typename Result, typename Work>
Result guarded(Result failure, Work work) noexcept {
    try {
        return work();
    } catch (...) {
        logError("hyperseg plugin: out of memory on the host");
        return failure;
    }
}

}  // namespace hyperseg
