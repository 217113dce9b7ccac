// One entry of trt_plugins/aot, for Python's ctypes: SOURCE is its file, ENTRY its name, NODE_* its node.
#include SOURCE

#include <utility>

namespace {

template <typename... Parameters, size_t... INDEX>
void call(void (*entry)(Parameters...), void** values, std::index_sequence<INDEX...>) {
    entry(*static_cast<Parameters*>(values[INDEX])...);
}

template <typename... Parameters>
void call(void (*entry)(Parameters...), void** values) {
    call(entry, values, std::index_sequence_for<Parameters...>{});
}

}  // namespace

// As TensorRT launches it: an address for each parameter's value.
extern "C" void run(unsigned gridX, unsigned gridY, unsigned threads, size_t sharedBytes, void** values) {
    auto const thread = [](void* values) { call(ENTRY, static_cast<void**>(values)); };
    hyperseg::cpu::setOrder(hyperseg::cpu::Order::kShuffled, 1);
    hyperseg::cpu::run({gridX, gridY}, {threads}, sharedBytes, thread, values);
}
