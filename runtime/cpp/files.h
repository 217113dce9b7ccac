// Files that are read whole, and files that appear complete or not at all.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>

namespace hyperseg {

// The bytes of a file. Throws UserError; otherwise says what to do about a file that is not there.
std::string readFile(std::filesystem::path const& path, std::string const& otherwise);

// Throws UserError where writeFile could not write.
void checkWritable(std::filesystem::path const& path);

// Writes beside path, then takes its place. Throws UserError.
void writeFile(std::filesystem::path const& path, void const* bytes, size_t size);

}  // namespace hyperseg
