// What a series of latencies comes to.
#pragma once

#include <string>
#include <vector>

namespace hyperseg {

// The p-th percentile, 0 to 100, of at least one value; between two values it is interpolated.
double percentile(std::vector<double> values, double p);

// "p50 1.23 ms, p95 ..., p99 ..., 813.0 frames/s" of at least one latency; frames per second at the median.
std::string summaryOf(std::vector<double> const& latenciesMs);

}  // namespace hyperseg
