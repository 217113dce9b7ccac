#include "logger.h"

#include <atomic>
#include <cstdio>

namespace hyperseg {

namespace {
// The one thing that is global: TensorRT hands it to the library, not to a plugin.
std::atomic<nvinfer1::ILoggerFinder*> loggerFinder{nullptr};
}  // namespace

void setLoggerFinder(nvinfer1::ILoggerFinder* finder) noexcept { loggerFinder = finder; }

void logError(char const* message) noexcept {
    nvinfer1::ILogger* logger = nullptr;
    try {
        nvinfer1::ILoggerFinder* const finder = loggerFinder;
        logger = finder ? finder->findLogger() : nullptr;
    } catch (...) {  // findLogger is TensorRT's and may throw; stderr does as well
    }
    if (logger) {
        logger->log(nvinfer1::ILogger::Severity::kERROR, message);
    } else {
        std::fprintf(stderr, "%s\n", message);
    }
}

}  // namespace hyperseg
