#include "files.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>

#include "user_error.h"

namespace fs = std::filesystem;

namespace hyperseg {

namespace {

// Open beside a file, deleted unless it took that file's place.
class Aside {
  public:
    explicit Aside(fs::path const& target)
        : target_(target),
          path_(fs::path(target).replace_filename("." + target.filename().string() + "." + std::to_string(getpid()) +
                                                  ".part")) {
        if (fs::is_directory(target_)) {
            throw UserError(target_.string() + " is a folder; give the name of a file.");
        }
        errno = 0;
        stream_.open(path_, std::ios::binary);
        check();
    }
    ~Aside() {
        std::error_code ignored;  // there may be nothing to delete
        fs::remove(path_, ignored);
    }
    Aside(Aside const&) = delete;
    Aside& operator=(Aside const&) = delete;

    void fill(void const* bytes, size_t size) {
        errno = 0;
        stream_.write(static_cast<char const*>(bytes), static_cast<std::streamsize>(size));
        stream_.close();  // a full disk may show only now
        check();
        std::error_code error;
        fs::rename(path_, target_, error);
        errno = error.value();
        stream_.setstate(error ? std::ios::failbit : std::ios::goodbit);
        check();
    }

  private:
    void check() const {
        if (!stream_) {
            throw UserError("Cannot write " + target_.string() + ": " + std::strerror(errno) +
                            ". Check that the folder exists, is yours to write and has free space.");
        }
    }

    fs::path target_;
    fs::path path_;
    std::ofstream stream_;
};

}  // namespace

std::string readFile(fs::path const& path, std::string const& otherwise) {
    std::error_code ignored;  // the file is opened in any case
    if (!fs::exists(path, ignored)) {
        throw UserError(path.string() + " does not exist. " + otherwise);
    }
    if (fs::is_directory(path, ignored)) {
        throw UserError(path.string() + " is a folder; give a file.");
    }
    errno = 0;
    std::ifstream stream(path, std::ios::binary | std::ios::ate);
    std::string bytes(stream ? static_cast<size_t>(stream.tellg()) : 0, '\0');
    stream.seekg(0).read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    if (!stream) {
        throw UserError("Cannot read " + path.string() + ": " + std::strerror(errno) + ". Check its permissions.");
    }
    return bytes;
}

void checkWritable(fs::path const& path) { Aside{path}; }

void writeFile(fs::path const& path, void const* bytes, size_t size) { Aside(path).fill(bytes, size); }

}  // namespace hyperseg
