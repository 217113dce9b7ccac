// What the library exports: its creators, and the way to TensorRT's logger. TensorRT calls both when it loads the
// library (loadLibrary, trtexec --dynamicPlugins); nothing happens before.

#include <deque>

#include "logger.h"
#include "operator.h"
#include "tensorrt.h"

#if NV_TENSORRT_MAJOR >= 10
#include "v3_adapter.h"
using Creator = hyperseg::V3Creator;
using CreatorInterface = nvinfer1::IPluginCreatorInterface;
#define GET_CREATORS getCreators
#else
#include "v2_adapter.h"
using Creator = hyperseg::V2Creator;
using CreatorInterface = nvinfer1::IPluginCreator;
#define GET_CREATORS getPluginCreators
#endif

#define EXPORTED extern "C" __attribute__((visibility("default")))

#define TEXT(text) #text
#define TEXT_OF(macro) TEXT(macro)

// The libraries for 10 and 11 export equal names, and one in the other's place crashes: this text in the file
// tells them apart before one is loaded.
__attribute__((used)) static char const builtFor[] = "hyperseg_plugins for TensorRT " TEXT_OF(NV_TENSORRT_MAJOR);

EXPORTED void setLoggerFinder(nvinfer1::ILoggerFinder* finder) { hyperseg::setLoggerFinder(finder); }

// Returns an array of nbCreators creators, which live as long as the library is loaded.
EXPORTED CreatorInterface* const* GET_CREATORS(int32_t& nbCreators) {
    static std::deque<Creator> creators;  // they must stay where they are
    static std::vector<CreatorInterface*> const pointers = [] {
        std::vector<CreatorInterface*> result;
        for (hyperseg::OperatorKind const& kind : hyperseg::operatorKinds()) {
            result.push_back(&creators.emplace_back(kind));
        }
        return result;
    }();
    nbCreators = static_cast<int32_t>(pointers.size());
    return pointers.data();
}
