// Calls parts of runtime/cpp that need neither TensorRT nor CUDA:
//   percentile P VALUE...             frame HEIGHT WIDTH PATH...: per path "SIZE CHECKSUM" or "no MESSAGE"
#include <cstdio>
#include <string>

#include "images.h"
#include "latency.h"
#include "user_error.h"

using namespace hyperseg;

namespace {

void printFrame(std::string const& path, ImageSize size) try {
    std::string const rgb = readFrame(path, size);
    unsigned checksum = 0;
    for (char const value : rgb) {
        checksum = checksum * 31 + static_cast<unsigned char>(value);
    }
    std::printf("%zu %u\n", rgb.size(), checksum);
} catch (UserError const& error) {
    std::printf("no %s\n", error.what());
}

}  // namespace

int main(int count, char** words) {
    if (std::string(words[1]) == "percentile") {
        std::vector<double> values;
        for (int i = 3; i < count; ++i) {
            values.push_back(std::stod(words[i]));
        }
        std::printf("%.12g\n", percentile(values, std::stod(words[2])));
    } else {
        for (int i = 4; i < count; ++i) {
            printFrame(words[i], {std::stol(words[2]), std::stol(words[3])});
        }
    }
}
