// Runs operators once each on random inputs, for compute-sanitizer: runner CASES
//
// Every line of the file CASES is one launch, 21 integers:
//   operator (0 DPWConv, 1 DPWInvertedResidual, 2 LabelHead), type, batch, in, hidden, out, height, width, K, grid
//   height and width, kernel height and width, group, weight offset, pad mode, activation, residual, channels of the
//   previous level (0: the operator reads a plain map), positions, scale
// LabelHead's classes are its "in"; what an operator does not have is 0.
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
#include "../kernels/label_head/label_head.h"

extern "C" int dpwconv(hyperseg::DpwConvParams const* params, cudaStream_t stream);
extern "C" int dpw_inverted_residual(hyperseg::DpwInvertedResidualParams const* params, cudaStream_t stream);
extern "C" int label_head(hyperseg::LabelHeadParams const* params, cudaStream_t stream);

namespace {

struct Case {
    int32_t op, type, batch, in, hidden, out, height, width, channels, gridHeight, gridWidth, kernelHeight, kernelWidth,
        group, offset, padMode, activation, residual, previous, positions, scale;
};

std::istream& operator>>(std::istream& file, Case& c) {
    for (int32_t* field :
         {&c.op,     &c.type,     &c.batch,      &c.in,        &c.hidden,       &c.out,         &c.height,
          &c.width,  &c.channels, &c.gridHeight, &c.gridWidth, &c.kernelHeight, &c.kernelWidth, &c.group,
          &c.offset, &c.padMode,  &c.activation, &c.residual,  &c.previous,     &c.positions,   &c.scale})
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

int32_t skipChannels(Case const& c) { return c.in - c.previous - 2 * c.positions; }

cudaError_t launch(Case const& c, void const* x, void const* previous, void const* weight, void const* bias1,
                   void const* bias2, void const* bias3, void* y) {
    auto const type = static_cast<hyperseg::Type>(c.type);
    hyperseg::Map const map{x, c.previous ? previous : nullptr, skipChannels(c), c.previous, c.positions};
    auto const padMode = static_cast<hyperseg::PadMode>(c.padMode);
    auto const activation = static_cast<hyperseg::Activation>(c.activation);
    if (c.op == 0) {
        hyperseg::DpwConvParams const params{type,       map,          weight,      bias3,          y,
                                             c.batch,    c.in,         c.out,       c.height,       c.width,
                                             c.channels, c.gridHeight, c.gridWidth, c.kernelHeight, c.kernelWidth,
                                             c.group,    c.offset,     padMode,     activation};
        return static_cast<cudaError_t>(dpwconv(&params, nullptr));
    }
    hyperseg::DpwInvertedResidualParams const params{
        type,     map,        weight,       bias1,          bias2,          bias3,
        y,        c.batch,    c.in,         c.hidden,       c.out,          c.height,
        c.width,  c.channels, c.gridHeight, c.gridWidth,    c.kernelHeight, c.kernelWidth,
        c.offset, padMode,    activation,   c.residual != 0};
    return static_cast<cudaError_t>(dpw_inverted_residual(&params, nullptr));
}

cudaError_t finish(cudaError_t launched, DeviceTensor& y) {
    if (launched != cudaSuccess) return launched;
    cudaError_t const finished = cudaDeviceSynchronize();
    if (finished != cudaSuccess) return finished;
    y.read();
    return y.status();
}

cudaError_t runLabelHead(Case const& c, std::mt19937& random) {
    size_t const pixels = static_cast<size_t>(c.batch) * c.height * c.width;
    DeviceTensor logits(c.type, pixels * c.in), labels(c.type, pixels * c.scale * c.scale);
    logits.fill(random);
    for (DeviceTensor* tensor : {&logits, &labels})
        if (tensor->status() != cudaSuccess) return tensor->status();
    hyperseg::LabelHeadParams const params{
        static_cast<hyperseg::Type>(c.type), logits.data(), labels.data(), c.batch, c.in, c.height, c.width, c.scale};
    return finish(static_cast<cudaError_t>(label_head(&params, nullptr)), labels);
}

cudaError_t run(Case const& c, std::mt19937& random) {
    if (c.op == 2) return runLabelHead(c, random);
    size_t const maps = static_cast<size_t>(c.batch), pixels = static_cast<size_t>(c.height) * c.width;
    DeviceTensor x(c.type, maps * skipChannels(c) * pixels), y(c.type, maps * c.out * pixels);
    size_t const half = static_cast<size_t>(c.height / 2) * (c.width / 2);
    DeviceTensor previous(c.type, c.previous ? maps * c.previous * half : 1);
    DeviceTensor weight(c.type, maps * c.channels * c.gridHeight * c.gridWidth);
    size_t const hidden = c.op == 0 ? 1 : static_cast<size_t>(c.hidden);
    DeviceTensor bias1(c.type, hidden), bias2(c.type, hidden), bias3(c.type, c.out);
    for (DeviceTensor* input : {&x, &previous, &weight, &bias1, &bias2, &bias3}) input->fill(random);
    for (DeviceTensor* tensor : {&x, &previous, &weight, &bias1, &bias2, &bias3, &y})
        if (tensor->status() != cudaSuccess) return tensor->status();
    return finish(
        launch(c, x.data(), previous.data(), weight.data(), bias1.data(), bias2.data(), bias3.data(), y.data()), y);
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
