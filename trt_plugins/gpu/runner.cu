// Runs operators once each on random inputs, for compute-sanitizer: runner CASES
//
// Every line of the file CASES is one launch, 18 integers:
//   operator (0 DPWConv, 1 DPWInvertedResidual), type, batch, in, hidden, out, height, width, K, grid height and width,
//   kernel height and width, group, weight offset, pad mode, activation, residual
// Each tensor is an allocation of its own, exactly as long as it must be, so that a step beyond it is seen; the output
// is not initialised but is copied back, so that a value that no thread wrote is seen as well. What the values are is
// checked elsewhere. The exit code is 1 for a CUDA error and 2 for a file that cannot be read.
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>
#include <cstdio>
#include <fstream>
#include <random>
#include <vector>

#include "../kernels/dpw_inverted_residual/dpw_inverted_residual.h"
#include "../kernels/dpwconv/dpwconv.h"

extern "C" int dpwconv(hyperseg::DpwConvParams const* params, cudaStream_t stream);
extern "C" int dpw_inverted_residual(hyperseg::DpwInvertedResidualParams const* params, cudaStream_t stream);

namespace {

struct Case {
    int32_t op, type, batch, in, hidden, out, height, width, channels, gridHeight, gridWidth, kernelHeight, kernelWidth,
        group, offset, padMode, activation, residual;
};

std::istream& operator>>(std::istream& file, Case& c) {
    for (int32_t* field :
         {&c.op, &c.type, &c.batch, &c.in, &c.hidden, &c.out, &c.height, &c.width, &c.channels, &c.gridHeight,
          &c.gridWidth, &c.kernelHeight, &c.kernelWidth, &c.group, &c.offset, &c.padMode, &c.activation, &c.residual})
        file >> *field;
    return file;
}

// Values of one type in device memory, freed with the object.
class DeviceTensor {
  public:
    DeviceTensor(int32_t type, size_t values) : type_(type), values_(values) { check(cudaMalloc(&data_, bytes())); }
    ~DeviceTensor() { cudaFree(data_); }
    DeviceTensor(DeviceTensor const&) = delete;

    void* data() const { return data_; }
    cudaError_t status() const { return status_; }

    void fill(std::mt19937& random) {
        std::normal_distribution<float> normal;
        std::vector<float> floats(values_);
        std::vector<__half> halves(values_);
        for (size_t i = 0; i < values_; ++i) halves[i] = __float2half(floats[i] = normal(random));
        void const* host = type_ == 0 ? static_cast<void const*>(floats.data()) : halves.data();
        check(cudaMemcpy(data_, host, bytes(), cudaMemcpyHostToDevice));
    }

    void read() {
        std::vector<char> host(bytes());
        check(cudaMemcpy(host.data(), data_, bytes(), cudaMemcpyDeviceToHost));
    }

  private:
    size_t bytes() const { return values_ * (type_ == 0 ? sizeof(float) : sizeof(__half)); }

    void check(cudaError_t error) {
        if (status_ == cudaSuccess) status_ = error;
    }

    int32_t type_;
    size_t values_;
    void* data_ = nullptr;
    cudaError_t status_ = cudaSuccess;
};

cudaError_t launch(Case const& c, void const* x, void const* weight, void const* bias1, void const* bias2,
                   void const* bias3, void* y) {
    auto const type = static_cast<hyperseg::Type>(c.type);
    auto const padMode = static_cast<hyperseg::PadMode>(c.padMode);
    auto const activation = static_cast<hyperseg::Activation>(c.activation);
    if (c.op == 0) {
        hyperseg::DpwConvParams const params{type,
                                             {x, nullptr, c.in, 0, 0},
                                             weight,
                                             bias3,
                                             y,
                                             c.batch,
                                             c.in,
                                             c.out,
                                             c.height,
                                             c.width,
                                             c.channels,
                                             c.gridHeight,
                                             c.gridWidth,
                                             c.kernelHeight,
                                             c.kernelWidth,
                                             c.group,
                                             c.offset,
                                             padMode,
                                             activation};
        return static_cast<cudaError_t>(dpwconv(&params, nullptr));
    }
    hyperseg::DpwInvertedResidualParams const params{type,
                                                     {x, nullptr, c.in, 0, 0},
                                                     weight,
                                                     bias1,
                                                     bias2,
                                                     bias3,
                                                     y,
                                                     c.batch,
                                                     c.in,
                                                     c.hidden,
                                                     c.out,
                                                     c.height,
                                                     c.width,
                                                     c.channels,
                                                     c.gridHeight,
                                                     c.gridWidth,
                                                     c.kernelHeight,
                                                     c.kernelWidth,
                                                     c.offset,
                                                     padMode,
                                                     activation,
                                                     c.residual != 0};
    return static_cast<cudaError_t>(dpw_inverted_residual(&params, nullptr));
}

cudaError_t run(Case const& c, std::mt19937& random) {
    size_t const maps = static_cast<size_t>(c.batch), pixels = static_cast<size_t>(c.height) * c.width;
    DeviceTensor x(c.type, maps * c.in * pixels), y(c.type, maps * c.out * pixels);
    DeviceTensor weight(c.type, maps * c.channels * c.gridHeight * c.gridWidth);
    size_t const hidden = c.op == 0 ? 1 : static_cast<size_t>(c.hidden);
    DeviceTensor bias1(c.type, hidden), bias2(c.type, hidden), bias3(c.type, c.out);
    for (DeviceTensor* input : {&x, &weight, &bias1, &bias2, &bias3}) input->fill(random);
    for (DeviceTensor* tensor : {&x, &weight, &bias1, &bias2, &bias3, &y})
        if (tensor->status() != cudaSuccess) return tensor->status();
    cudaError_t const launched = launch(c, x.data(), weight.data(), bias1.data(), bias2.data(), bias3.data(), y.data());
    if (launched != cudaSuccess) return launched;
    cudaError_t const finished = cudaDeviceSynchronize();
    if (finished != cudaSuccess) return finished;
    y.read();
    return y.status();
}

}  // namespace

int main(int argc, char** argv) {
    std::ifstream file(argc == 2 ? argv[1] : "");
    if (!file) {
        std::fprintf(stderr, "usage: runner CASES, a file that can be read\n");
        return 2;
    }
    std::mt19937 random(0);
    int count = 0;
    for (Case c; file >> c; ++count) {
        cudaError_t const error = run(c, random);
        if (error != cudaSuccess) {
            std::fprintf(stderr, "line %d: %s\n", count + 1, cudaGetErrorString(error));
            return 1;
        }
    }
    std::printf("%d launches\n", count);
    return 0;
}
