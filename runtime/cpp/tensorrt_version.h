// What TensorRT 8.6, 10 and 11 want done differently; no other file asks which version it is.
//
// From 10 on a network is strongly typed: the ONNX file alone decides where FP16 and INT8 are used. 8.6 decides by
// itself and must be allowed to.
#pragma once

#include <NvInfer.h>
#include <NvOnnxParser.h>

#include <string>

#include "user_error.h"

#if NV_TENSORRT_MAJOR < 8 || (NV_TENSORRT_MAJOR == 8 && NV_TENSORRT_MINOR < 6)
#error "hyperseg_run needs TensorRT 8.6, 10 or 11: older ones cannot load plugin libraries (loadLibrary)."
#endif

namespace hyperseg {

// Throws UserError for precisions that this TensorRT leaves to the file.
inline void checkPrecision(bool fp16, bool int8) {
    if (NV_TENSORRT_MAJOR >= 10 && (fp16 || int8)) {
        throw UserError("TensorRT " + std::to_string(NV_TENSORRT_MAJOR) +
                        " takes the precision from the ONNX file: leave --fp16 and --int8 out, and give the bundle's "
                        "NAME.fp16.trt.onnx or NAME.int8.trt.onnx.");
    }
}

inline nvinfer1::INetworkDefinition* createNetwork(nvinfer1::IBuilder& builder) {
#if NV_TENSORRT_MAJOR == 8
    auto const flag = nvinfer1::NetworkDefinitionCreationFlag::kEXPLICIT_BATCH;
    return builder.createNetworkV2(1U << static_cast<uint32_t>(flag));
#elif NV_TENSORRT_MAJOR == 10
    auto const flag = nvinfer1::NetworkDefinitionCreationFlag::kSTRONGLY_TYPED;
    return builder.createNetworkV2(1U << static_cast<uint32_t>(flag));
#else
    return builder.createNetworkV2(0);  // there is nothing but strongly typed
#endif
}

inline void allowPrecisions([[maybe_unused]] nvinfer1::IBuilderConfig& config, [[maybe_unused]] bool fp16,
                            [[maybe_unused]] bool int8) {
#if NV_TENSORRT_MAJOR == 8
    if (fp16 || int8) {  // what an int8 file does not quantise is to run in FP16
        config.setFlag(nvinfer1::BuilderFlag::kFP16);
    }
    if (int8) {
        config.setFlag(nvinfer1::BuilderFlag::kINT8);
    }
#endif
}

inline bool isInt64([[maybe_unused]] nvinfer1::DataType type) {
#if NV_TENSORRT_MAJOR == 8
    return false;  // 8.6 has no such type, and makes INT32 of it
#else
    return type == nvinfer1::DataType::kINT64;
#endif
}

// Such as "10.3.0": the library that runs, which may be newer than the headers.
inline std::string tensorrtVersion() {
    int32_t const version = getInferLibVersion();
    int32_t const base = NV_TENSORRT_MAJOR == 8 ? 10 : 100;
    return std::to_string(version / 100 / base) + "." + std::to_string(version / 100 % base) + "." +
           std::to_string(version % 100);
}

}  // namespace hyperseg
