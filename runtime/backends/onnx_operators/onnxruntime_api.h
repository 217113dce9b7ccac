// The part of ONNX Runtime's C API that operators need, declared by hand: its headers are not in the Python package.
//
// Holds for every ONNX Runtime from 1.17 on (compared with the header of API version 24; run with 1.31): a
// release appends to the table of functions and to OrtCustomOp, and changes nothing before.
#pragma once

#include <cstddef>
#include <cstdint>

extern "C" {

// ONNX Runtime before 1.17 answers GetApi(17) with nullptr; a later one reads of an OrtCustomOp what 17 had.
constexpr uint32_t kOrtApiVersion = 17;

struct OrtStatus;  // nullptr is success
struct OrtSessionOptions;
struct OrtCustomOpDomain;
struct OrtKernelInfo;
struct OrtKernelContext;
struct OrtValue;
struct OrtTensorTypeAndShapeInfo;
struct OrtCustomOp;

enum OrtErrorCode { ORT_FAIL = 1 };
enum ONNXTensorElementDataType { ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT = 1 };
enum OrtCustomOpInputOutputCharacteristic { INPUT_OUTPUT_REQUIRED = 0, INPUT_OUTPUT_OPTIONAL = 1 };
enum OrtMemType { OrtMemTypeDefault = 0 };

struct OrtApi {
    OrtStatus* (*CreateStatus)(OrtErrorCode, char const* message);
    void* unused1;
    char const* (*GetErrorMessage)(OrtStatus const*);
    void* unused3[23];
    OrtStatus* (*CreateCustomOpDomain)(char const* domain, OrtCustomOpDomain** created);
    OrtStatus* (*CustomOpDomain_Add)(OrtCustomOpDomain*, OrtCustomOp const*);
    OrtStatus* (*AddCustomOpDomain)(OrtSessionOptions*, OrtCustomOpDomain*);
    void* unused29[22];
    OrtStatus* (*GetTensorMutableData)(OrtValue*, void** data);
    void* unused52[9];
    OrtStatus* (*GetDimensionsCount)(OrtTensorTypeAndShapeInfo const*, size_t* count);
    OrtStatus* (*GetDimensions)(OrtTensorTypeAndShapeInfo const*, int64_t* dimensions, size_t count);
    void* unused63[2];
    OrtStatus* (*GetTensorTypeAndShape)(OrtValue const*, OrtTensorTypeAndShapeInfo** created);
    void* unused66[20];
    OrtStatus* (*KernelInfoGetAttribute_int64)(OrtKernelInfo const*, char const* name, int64_t* value);
    OrtStatus* (*KernelInfoGetAttribute_string)(OrtKernelInfo const*, char const* name, char* value, size_t* size);
    void* unused88[2];
    OrtStatus* (*KernelContext_GetInput)(OrtKernelContext const*, size_t index, OrtValue const** value);
    OrtStatus* (*KernelContext_GetOutput)(OrtKernelContext*, size_t index, int64_t const* dimensions, size_t count,
                                          OrtValue** value);
    void* unused92;
    void (*ReleaseStatus)(OrtStatus*);
    void* unused94[5];
    void (*ReleaseTensorTypeAndShapeInfo)(OrtTensorTypeAndShapeInfo*);
    void* unused100[63];
    OrtStatus* (*KernelInfoGetAttributeArray_int64)(OrtKernelInfo const*, char const* name, int64_t* values,
                                                    size_t* count);
    void* unused164[110];
    OrtStatus* (*KernelContext_ParallelFor)(OrtKernelContext const*, void (*call)(void* user, size_t index),
                                            size_t total, size_t batches, void* user);
};

#define ORT_AT(entry, index) static_assert(offsetof(OrtApi, entry) == (index) * sizeof(void*))
ORT_AT(GetErrorMessage, 2);
ORT_AT(CreateCustomOpDomain, 26);
ORT_AT(GetTensorMutableData, 51);
ORT_AT(GetDimensionsCount, 61);
ORT_AT(GetTensorTypeAndShape, 65);
ORT_AT(KernelInfoGetAttribute_int64, 86);
ORT_AT(KernelContext_GetInput, 90);
ORT_AT(ReleaseStatus, 93);
ORT_AT(ReleaseTensorTypeAndShapeInfo, 99);
ORT_AT(KernelInfoGetAttributeArray_int64, 163);
ORT_AT(KernelContext_ParallelFor, 274);
#undef ORT_AT

struct OrtApiBase {
    OrtApi const* (*GetApi)(uint32_t version);
    char const* (*GetVersionString)();
};

// One operator, as version 17 of the API knows it. What stays nullptr is never called.
struct OrtCustomOp {
    uint32_t version;
    void* CreateKernel;
    char const* (*GetName)(OrtCustomOp const*);
    char const* (*GetExecutionProviderType)(OrtCustomOp const*);
    ONNXTensorElementDataType (*GetInputType)(OrtCustomOp const*, size_t index);
    size_t (*GetInputTypeCount)(OrtCustomOp const*);
    ONNXTensorElementDataType (*GetOutputType)(OrtCustomOp const*, size_t index);
    size_t (*GetOutputTypeCount)(OrtCustomOp const*);
    void* KernelCompute;
    void (*KernelDestroy)(void* kernel);
    OrtCustomOpInputOutputCharacteristic (*GetInputCharacteristic)(OrtCustomOp const*, size_t index);
    OrtCustomOpInputOutputCharacteristic (*GetOutputCharacteristic)(OrtCustomOp const*, size_t index);
    OrtMemType (*GetInputMemoryType)(OrtCustomOp const*, size_t index);
    void* variadic[4];
    OrtStatus* (*CreateKernelV2)(OrtCustomOp const*, OrtApi const*, OrtKernelInfo const*, void** kernel);
    OrtStatus* (*KernelComputeV2)(void* kernel, OrtKernelContext*);
    void* InferOutputShapeFn;
    int (*GetStartVersion)(OrtCustomOp const*);
    int (*GetEndVersion)(OrtCustomOp const*);
};

}  // extern "C"
