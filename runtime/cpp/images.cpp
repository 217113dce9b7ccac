#include "images.h"

#include <algorithm>
#include <cctype>
#include <map>

#include "files.h"
#include "user_error.h"

namespace fs = std::filesystem;

namespace hyperseg {

namespace {

constexpr char const* kMakeOne = "ffmpeg makes one from any image: ffmpeg -i IMAGE -s ";

std::string textOf(ImageSize size) {
    return std::to_string(size.height) + " x " + std::to_string(size.width) + " (height x width)";
}

std::string howToScale(ImageSize size) {
    return kMakeOne + std::to_string(size.width) + "x" + std::to_string(size.height) + " FRAME.ppm";
}

bool isPpm(fs::path const& path) { return path.extension() == ".ppm"; }

bool isFrame(fs::path const& path) { return isPpm(path) || path.extension() == ".rgb"; }

// The head of a PPM: P6, width, height and maximum, apart by white space and comments, and one white space.
class PpmHead {
  public:
    PpmHead(fs::path const& path, std::string const& bytes) : path_(path), bytes_(bytes) {
        if (bytes_.compare(0, 2, "P6") != 0) {
            fail("does not begin with P6. " + std::string(kMakeOne) + "WIDTHxHEIGHT FRAME.ppm");
        }
        size_.width = number("width");
        size_.height = number("height");
        if (number("maximum") != 255) {
            fail("does not have one byte a value: its maximum is not 255.");
        }
        if (position_ == bytes_.size() || !isSpace()) {
            fail("ends within its head, or has no white space after it.");
        }
        ++position_;
    }

    ImageSize size() const { return size_; }
    size_t bytes() const { return position_; }

  private:
    [[noreturn]] void fail(std::string const& how) const {
        throw UserError(path_.string() + " is no PPM that can be read: it " + how);
    }

    bool isSpace() const { return std::isspace(static_cast<unsigned char>(bytes_[position_])) != 0; }

    int64_t number(char const* name) {
        for (; position_ < bytes_.size() && (isSpace() || bytes_[position_] == '#'); ++position_) {
            if (bytes_[position_] == '#') {
                position_ = std::min(bytes_.find('\n', position_), bytes_.size() - 1);
            }
        }
        int64_t value = 0;
        size_t const start = position_;
        for (; position_ < bytes_.size() && bytes_[position_] >= '0' && bytes_[position_] <= '9'; ++position_) {
            value = std::min<int64_t>(value * 10 + (bytes_[position_] - '0'), 1 << 30);  // no overflow
        }
        if (position_ == start || value == 0) {
            fail("has no " + std::string(name) + ".");
        }
        return value;
    }

    fs::path const& path_;
    std::string const& bytes_;
    size_t position_ = 2;
    ImageSize size_{};
};

}  // namespace

std::vector<fs::path> listFrames(fs::path const& path) {
    std::error_code error;
    if (!fs::is_directory(path, error)) {
        if (!fs::exists(path, error)) {
            throw UserError(path.string() + " does not exist. Give a frame or a folder of frames, .ppm or .rgb.");
        }
        if (!isFrame(path)) {
            throw UserError(path.string() + " is neither .ppm nor .rgb. " + kMakeOne + "WIDTHxHEIGHT FRAME.ppm");
        }
        return {path};
    }
    std::vector<fs::path> frames;
    for (fs::directory_iterator entry(path, error), end; !error && entry != end; entry.increment(error)) {
        if (isFrame(entry->path())) {
            frames.push_back(entry->path());
        }
    }
    if (error) {
        throw UserError("Cannot read the folder " + path.string() + ": " + error.message() +
                        ". Check its permissions.");
    }
    if (frames.empty()) {
        throw UserError("There is no .ppm and no .rgb file in " + path.string() + ". " + kMakeOne +
                        "WIDTHxHEIGHT FRAME.ppm");
    }
    std::sort(frames.begin(), frames.end());
    std::map<fs::path, fs::path> byStem;
    for (fs::path const& frame : frames) {
        auto const [first, isNew] = byStem.emplace(frame.stem(), frame);
        if (!isNew) {
            throw UserError(first->second.string() + " and " + frame.string() +
                            " would give their labels one name; rename one of them.");
        }
    }
    return frames;
}

std::string readFrame(fs::path const& path, ImageSize expected) {
    std::string bytes = readFile(path, "Give a frame, .ppm or .rgb.");
    size_t const pixelBytes = expected.pixels() * 3;
    size_t head = 0;
    if (isPpm(path)) {
        PpmHead const ppm(path, bytes);
        ImageSize const found = ppm.size();
        if (found.height != expected.height || found.width != expected.width) {
            throw UserError(path.string() + " is " + textOf(found) + ", but the network takes " + textOf(expected) +
                            ". " + howToScale(expected));
        }
        head = ppm.bytes();
    }
    if (bytes.size() != head + pixelBytes) {
        throw UserError(path.string() + " has " + std::to_string(bytes.size()) + " bytes instead of " +
                        std::to_string(head + pixelBytes) + ": the network takes " + textOf(expected) +
                        ", 3 bytes a pixel. It is of another size or was copied only in part. " + howToScale(expected));
    }
    bytes.erase(0, head);
    return bytes;
}

void writeLabels(fs::path const& folder, fs::path const& frame, uint8_t const* labels, ImageSize size) {
    std::string pgm = "P5\n" + std::to_string(size.width) + " " + std::to_string(size.height) + "\n255\n";
    pgm.append(reinterpret_cast<char const*>(labels), size.pixels());
    writeFile(folder / (frame.stem().string() + "_labels.pgm"), pgm.data(), pgm.size());
}

}  // namespace hyperseg
