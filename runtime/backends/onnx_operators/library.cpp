// What ONNX Runtime calls when it loads the library.
//
// All other files may use instructions that not every CPU has; this one is compiled without them, and checks.
#include <cstdio>

#include "dpw_inverted_residual.h"
#include "dpwconv.h"
#include "label_head.h"
#include "mbconv_operator.h"

// The build says what the others were compiled for: -D'HYPERSEG_CPU_FEATURES=NEEDS("avx2") NEEDS("fma")'.
#ifndef HYPERSEG_CPU_FEATURES
#define HYPERSEG_CPU_FEATURES
#endif

namespace hyperseg {
namespace {

// nullptr if this CPU has all instructions that the library may use.
char const* missingFeature() {
#define NEEDS(feature) \
    if (!__builtin_cpu_supports(feature)) return feature;
    HYPERSEG_CPU_FEATURES
#undef NEEDS
    return nullptr;
}

OrtStatus* addOperators(OrtApi const* api, OrtSessionOptions* options) {
    // ONNX Runtime keeps pointers to them for as long as the library is loaded.
    static OrtCustomOp const operators[] = {
        customOp<DpwConvOperator>(),
        customOp<DpwConvLevelOperator>(),
        customOp<DpwInvertedResidualOperator>(),
        customOp<DpwInvertedResidualLevelOperator>(),
        customOp<LabelHeadOperator>(),
        customOp<MBConvOperator>(),
    };
    OrtCustomOpDomain* domain = nullptr;  // of its own for each session: never freed, as small as it is
    if (OrtStatus* error = api->CreateCustomOpDomain("hyperseg", &domain)) return error;
    for (OrtCustomOp const& op : operators)
        if (OrtStatus* error = api->CustomOpDomain_Add(domain, &op)) return error;
    return api->AddCustomOpDomain(options, domain);
}

}  // namespace
}  // namespace hyperseg

extern "C" __attribute__((visibility("default"))) OrtStatus* RegisterCustomOps(OrtSessionOptions* options,
                                                                               OrtApiBase const* base) {
    OrtApi const* api = base->GetApi(kOrtApiVersion);
    if (!api) {
        // The first functions of the table are those of the first release.
        api = base->GetApi(1);
        return api->CreateStatus(ORT_FAIL, "the operators need ONNX Runtime 1.17 or newer");
    }
    if (char const* feature = hyperseg::missingFeature()) {
        char message[128];
        std::snprintf(message, sizeof message, "the operators were built for a CPU that has %s", feature);
        return api->CreateStatus(ORT_FAIL, message);
    }
    return hyperseg::addOperators(api, options);
}
