// TensorRT's side of a plugin's calls: its registry as a binary interface, and doubles of its shapes and its logger.
#pragma once

#include <deque>
#include <stdexcept>
#include <string>

#include "../../trt_plugins/abi/tensorrt_abi.h"

namespace tensorrt_double {

using namespace nvinfer1;

class IPluginCreator;  // of old plugins; TensorRT 10 still has room for them

// The registry, as far as its last function that is used here.
class Registry {
  public:
#if NV_TENSORRT_MAJOR == 10
    virtual bool registerOldCreator(IPluginCreator&, char const*) noexcept = 0;
    virtual IPluginCreator* const* getPluginCreatorList(int32_t*) const noexcept = 0;
    virtual IPluginCreator* getPluginCreator(char const*, char const*, char const*) noexcept = 0;
#endif
  protected:
    virtual ~Registry() = default;

  public:
    virtual void setErrorRecorder(void*) noexcept = 0;
    virtual void* getErrorRecorder() const noexcept = 0;
#if NV_TENSORRT_MAJOR == 10
    virtual bool deregisterOldCreator(IPluginCreator const&) noexcept = 0;
#endif
    virtual bool isParentSearchEnabled() const = 0;
    virtual void setParentSearchEnabled(bool) = 0;
    virtual void* loadLibrary(char const* path) noexcept = 0;
    virtual void deregisterLibrary(void* handle) noexcept = 0;
    virtual bool registerCreator(IPluginCreatorInterface&, char const*) noexcept = 0;
    virtual IPluginCreatorInterface* const* getAllCreators(int32_t*) const noexcept = 0;
    virtual IPluginCreatorInterface* getCreator(char const* name, char const* version, char const* space) noexcept = 0;
};

struct Logger : ILogger {
    std::string messages;
    void log(Severity, char const* message) noexcept override { messages += std::string(message) + " "; }
};

struct Finder : ILoggerFinder {
    Logger logger;
    ILogger* findLogger() override { return &logger; }
};

// Dimensions: the size that is known, or -1. An expression is found again by its address, a product of an unknown one
// by that one's.
struct Dimension : IDimensionExpr, apiv::VDimensionExpr {
    int64_t size, factor;
    IDimensionExpr const* multiplied;
    explicit Dimension(int64_t s, int64_t times = 1, IDimensionExpr const* of = nullptr)
        : size(s), factor(times), multiplied(of) {
        mImpl = this;
    }
    bool isConstant() const override { return size != -1; }
    int64_t getConstantValue() const override { return size; }
    bool isSizeTensor() const override { return false; }
};

struct Builder : IExprBuilder, apiv::VExprBuilder {
    std::deque<Dimension> dimensions;
    Builder() { mImpl = this; }
    IDimensionExpr const* constant(int64_t value) override { return &dimensions.emplace_back(value); }
    IDimensionExpr const* operation(DimensionOperation what, IDimensionExpr const& of,
                                    IDimensionExpr const& factor) override {
        if (what != DimensionOperation::kPROD) throw std::logic_error("no other operation is needed");
        return &dimensions.emplace_back(-1, factor.getConstantValue(), &of);
    }
    IDimensionExpr const* declareSizeTensor(int32_t, IDimensionExpr const&, IDimensionExpr const&) override {
        throw std::logic_error("no size tensor is needed");
    }
};

}  // namespace tensorrt_double
