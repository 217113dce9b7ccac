// TensorRT's messages. Its calls return nothing on failure; the reason goes here, from threads of its own as well.
#pragma once

#include <mutex>
#include <string>

#include "tensorrt_version.h"
#include "user_error.h"

namespace hyperseg {

// Shows errors and warnings on stderr as they come. Must outlive everything of TensorRT.
class Logger : public nvinfer1::ILogger {
  public:
    void log(Severity severity, nvinfer1::AsciiChar const* message) noexcept override;

    // The error of a failed call: what happened, the likely cause by TensorRT's errors since the last time, and remedy.
    UserError failure(std::string const& happened, std::string const& remedy = "");

    // Forgets errors that did no harm.
    void forget();

  private:
    std::mutex mutex_;
    std::string errors_;
};

}  // namespace hyperseg
