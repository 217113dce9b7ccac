#include "logger.h"

#include <cstdio>

#include "causes.h"

namespace hyperseg {

void Logger::log(Severity severity, nvinfer1::AsciiChar const* message) noexcept {
    if (severity > Severity::kWARNING) {
        return;
    }
    std::lock_guard const lock(mutex_);
    bool const isWarning = severity == Severity::kWARNING;
    std::fprintf(stderr, "TensorRT %s: %s\n", isWarning ? "warning" : "error", message);
    if (!isWarning) {
        errors_.append(message).append("\n");
    }
}

UserError Logger::failure(std::string const& happened, std::string const& remedy) {
    std::lock_guard const lock(mutex_);
    UserError error(happened + likelyCause(errors_) + (remedy.empty() ? "" : " " + remedy));
    errors_.clear();
    return error;
}

void Logger::forget() {
    std::lock_guard const lock(mutex_);
    errors_.clear();
}

}  // namespace hyperseg
