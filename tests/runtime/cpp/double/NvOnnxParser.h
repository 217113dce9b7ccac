// Takes the place of TensorRT's header of this name; see NvInfer.h.
#pragma once

#include "NvInfer.h"

namespace nvonnxparser {

struct IParserError {
    char const* desc() const { return "No importer registered for op: DPWConv"; }
};

struct IParser {
    nvinfer1::INetworkDefinition& network;
    IParserError error;
    bool failed;
    bool parse(void const* bytes, size_t size) {
        nvinfer1::Words words(std::string(static_cast<char const*>(bytes), size));
        failed = words.kind != "onnx";
        network.input = std::make_unique<nvinfer1::ITensor>(nvinfer1::ITensor{words});
        return !failed;
    }
    int32_t getNbErrors() const { return failed; }
    IParserError const* getError(int32_t) const { return &error; }
};

inline IParser* createParser(nvinfer1::INetworkDefinition& network, nvinfer1::ILogger&) {
    return new IParser{network, {}, false};
}

}  // namespace nvonnxparser
