// Hands the network's label map to DeepStream. Gst-nvinferserver's own parser takes the arg max of float scores; here
// the arg max is in the network.
#include <nvdsinfer_custom_impl.h>

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <vector>

namespace {

// DeepStream passes uint8 off as INT8, or has UINT8 for it, which older headers lack.
constexpr int kUINT8 = 5;

template <typename Label>
bool copyLabels(void const* from, unsigned int count, unsigned int numClasses, int* to) {
    auto const* labels = static_cast<Label const*>(from);
    for (unsigned int pixel = 0; pixel < count; ++pixel) {
        to[pixel] = static_cast<int>(labels[pixel]);
        if (to[pixel] < 0 || static_cast<unsigned int>(to[pixel]) >= numClasses) {
            std::fprintf(stderr, "HyperSeg: label %d, but there are %u classes.\n", to[pixel], numClasses);
            return false;
        }
    }
    return true;
}

}  // namespace

/// An NvDsInferSemSegmentationParseCustomFunc: the layer "labels" [H, W] of one frame into classificationMap [H * W].
/// There are no probabilities. Returns false, with a message, for a layer that does not fit.
extern "C" bool HyperSegParseLabels(std::vector<NvDsInferLayerInfo> const& outputLayersInfo,
                                    NvDsInferNetworkInfo const& networkInfo, float /*segmentationThreshold*/,
                                    unsigned int numClasses, int* classificationMap, float*& classProbabilityMap) {
    classProbabilityMap = nullptr;
    for (NvDsInferLayerInfo const& layer : outputLayersInfo) {
        if (std::strcmp(layer.layerName, "labels") != 0) {
            continue;
        }
        unsigned int const count = networkInfo.width * networkInfo.height;
        if (layer.inferDims.numElements != count) {
            std::fprintf(stderr, "HyperSeg: %u labels for %u x %u pixels.\n", layer.inferDims.numElements,
                         networkInfo.width, networkInfo.height);
            return false;
        }
        if (layer.dataType == INT8 || static_cast<int>(layer.dataType) == kUINT8) {
            return copyLabels<std::uint8_t>(layer.buffer, count, numClasses, classificationMap);
        }
        if (layer.dataType == INT32) {
            return copyLabels<std::int32_t>(layer.buffer, count, numClasses, classificationMap);
        }
        std::fprintf(stderr, "HyperSeg: labels of DeepStream's type %d.\n", static_cast<int>(layer.dataType));
        return false;
    }
    std::fputs("HyperSeg: the network has no output named labels.\n", stderr);
    return false;
}

CHECK_CUSTOM_SEM_SEGMENTATION_PARSE_FUNC_PROTOTYPE(HyperSegParseLabels)
