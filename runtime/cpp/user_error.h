// A mistake that the user can mend; the message says what happened, the likely cause and what to do.
#pragma once

#include <stdexcept>

namespace hyperseg {

struct UserError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

}  // namespace hyperseg
