// Frames in and labels out, in formats that need no library: PPM and raw RGB, PGM.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace hyperseg {

struct ImageSize {
    int64_t height;
    int64_t width;

    size_t pixels() const { return static_cast<size_t>(height * width); }
};

// A frame by itself, or the frames of a folder sorted by name. Throws UserError where there are none, and where two of
// a folder would give their labels one name.
std::vector<std::filesystem::path> listFrames(std::filesystem::path const& path);

// RGB [height, width, 3] of a .ppm or .rgb file. Throws UserError if it is broken or of another size.
std::string readFrame(std::filesystem::path const& path, ImageSize expected);

// Writes labels [height, width] as folder/NAME_labels.pgm for the frame NAME.ppm or NAME.rgb. Throws UserError.
void writeLabels(std::filesystem::path const& folder, std::filesystem::path const& frame, uint8_t const* labels,
                 ImageSize size);

}  // namespace hyperseg
