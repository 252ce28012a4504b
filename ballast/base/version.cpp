#include <ballast/base/version.h>

namespace ballast {

const char* version() { return BALLAST_VERSION; }

}  // namespace ballast
