#include "latency.h"

#include <algorithm>
#include <cstdio>

namespace hyperseg {

double percentile(std::vector<double> values, double p) {
    std::sort(values.begin(), values.end());
    double const position = p / 100 * static_cast<double>(values.size() - 1);
    auto const below = static_cast<size_t>(position);
    size_t const above = std::min(below + 1, values.size() - 1);
    return values[below] + (position - static_cast<double>(below)) * (values[above] - values[below]);
}

std::string summaryOf(std::vector<double> const& latenciesMs) {
    double const p50 = percentile(latenciesMs, 50);
    char text[160];
    std::snprintf(text, sizeof text, "p50 %.3f ms, p95 %.3f ms, p99 %.3f ms, %.1f frames/s", p50,
                  percentile(latenciesMs, 95), percentile(latenciesMs, 99), 1000 / p50);
    return text;
}

}  // namespace hyperseg
