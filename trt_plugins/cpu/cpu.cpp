// The scheduler of cpu.h: one fibre a thread, one block at a time.
#include "cpu.h"

#include <ucontext.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <numeric>
#include <random>
#include <vector>

namespace hyperseg::cpu {
namespace {

constexpr size_t kStackBytes = 128 * 1024;
constexpr unsigned kWarp = 32;
constexpr size_t kExchangeBytes = 64;

enum class State { kReady, kAtBlockBarrier, kAtWarpExchange, kDone };

struct Fibre {
    ucontext_t context;
    std::unique_ptr<unsigned char[]> stack{new unsigned char[kStackBytes]};
    State state;
    unsigned exchanges;
    Position position;
};

struct Block {
    std::vector<std::unique_ptr<Fibre>> fibres;
    std::vector<unsigned> order;  // in which the threads run
    std::unique_ptr<unsigned char[]> shared;
    // A lane may be one exchange ahead of another, so there are two sets: [2][threads][64].
    std::vector<unsigned char> exchanged;
    ucontext_t scheduler;
    unsigned current;
    void (*thread)(void*);
    void* argument;
} block;

Order order = Order::kForward;
std::mt19937 shuffle;

void wait(State state) {
    Fibre& fibre = *block.fibres[block.current];
    fibre.state = state;
    swapcontext(&fibre.context, &block.scheduler);
}

void threadMain() {
    block.thread(block.argument);
    block.fibres[block.current]->state = State::kDone;
}

void begin(Fibre& fibre, Position const& position) {
    fibre.state = State::kReady;
    fibre.exchanges = 0;
    fibre.position = position;
    getcontext(&fibre.context);
    fibre.context.uc_stack.ss_sp = fibre.stack.get();
    fibre.context.uc_stack.ss_size = kStackBytes;
    fibre.context.uc_link = &block.scheduler;
    makecontext(&fibre.context, threadMain, 0);
}

// Lets the threads [first, last) go on if they all wait in the given state.
bool release(unsigned first, unsigned last, State state) {
    auto const fibres = block.fibres.begin();
    if (!std::all_of(fibres + first, fibres + last, [&](auto const& fibre) { return fibre->state == state; }))
        return false;
    for (unsigned i = first; i < last; ++i) block.fibres[i]->state = State::kReady;
    return true;
}

// Runs the threads [first, last) of a warp until none of them can go on without the others of the block.
void runWarp(unsigned first, unsigned last) {
    do {
        for (unsigned i : block.order) {
            block.current = i;
            if (i >= first && i < last && block.fibres[i]->state == State::kReady)
                swapcontext(&block.scheduler, &block.fibres[i]->context);
        }
    } while (last - first == kWarp && release(first, last, State::kAtWarpExchange));
}

void runBlock() {
    unsigned const threads = static_cast<unsigned>(block.fibres.size());
    std::iota(block.order.begin(), block.order.end(), 0u);
    if (order == Order::kReverse) std::reverse(block.order.begin(), block.order.end());
    if (order == Order::kShuffled) std::shuffle(block.order.begin(), block.order.end(), shuffle);
    for (;;) {
        // A warp runs as far as it can before the next one does: whatever two warps do between two barriers meets.
        for (unsigned i : block.order)
            if (i % kWarp == 0) runWarp(i, std::min(i + kWarp, threads));
        auto const done = [](auto const& fibre) { return fibre->state == State::kDone; };
        if (std::all_of(block.fibres.begin(), block.fibres.end(), done)) return;
        if (release(0, threads, State::kAtBlockBarrier)) continue;
        std::fprintf(stderr, "A thread waits for others that never come: a barrier in divergent code.\n");
        std::abort();
    }
}

}  // namespace

void setOrder(Order newOrder, unsigned seed) {
    order = newOrder;
    shuffle.seed(seed);
}

void run(dim3 grid, dim3 size, size_t sharedBytes, void (*thread)(void*), void* argument) {
    unsigned const threads = size.x * size.y * size.z;
    block.thread = thread;
    block.argument = argument;
    block.order.resize(threads);
    block.exchanged.resize(2 * threads * kExchangeBytes);
    while (block.fibres.size() < threads) block.fibres.push_back(std::make_unique<Fibre>());
    block.fibres.resize(threads);
    for (unsigned b = 0; b < grid.x * grid.y * grid.z; ++b) {
        // Of the exact size, so that AddressSanitizer sees a read or write beyond it.
        block.shared.reset(new unsigned char[sharedBytes]);
        std::memset(block.shared.get(), 0xff, sharedBytes);  // a NaN in every type
        dim3 const at(b % grid.x, b / grid.x % grid.y, b / grid.x / grid.y);
        for (unsigned t = 0; t < threads; ++t)
            begin(*block.fibres[t], {{t % size.x, t / size.x % size.y, t / size.x / size.y}, at, grid, size});
        runBlock();
    }
}

unsigned char* sharedMemory() { return block.shared.get(); }

void blockBarrier() { wait(State::kAtBlockBarrier); }

unsigned char const* warpExchange(void const* mine) {
    Fibre& fibre = *block.fibres[block.current];
    size_t const threads = block.fibres.size(), lane = block.current;
    unsigned char* const set = block.exchanged.data() + (fibre.exchanges++ % 2) * threads * kExchangeBytes;
    std::memcpy(set + lane * kExchangeBytes, mine, kExchangeBytes);
    wait(State::kAtWarpExchange);
    return set + lane / kWarp * kWarp * kExchangeBytes;
}

Position const& here() { return block.fibres[block.current]->position; }

}  // namespace hyperseg::cpu
