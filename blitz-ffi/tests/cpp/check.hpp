// What the C++ test programs share.
#ifndef CHECK_HPP
#define CHECK_HPP

#include <cstdio>
#include <cstdlib>
#include <string>

#include "blitz.hpp"
// A header that minds being included twice shows here.
#include "blitz.hpp"

#define CHECK(...)                                                        \
  do {                                                                    \
    if (!(__VA_ARGS__)) {                                                 \
      std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #__VA_ARGS__); \
      std::exit(1);                                                       \
    }                                                                     \
  } while (0)

// The call throws an error of this code.
template <class Call>
void throws(blitz_status code, Call call) {
  try {
    call();
  } catch (const blitz::error &error) {
    if (error.code() != code) std::fprintf(stderr, "%s: %s\n", error.name(), error.what());
    CHECK(error.code() == code);
    CHECK(std::string(error.what()).size() > 0 && error.name() == std::string(blitz_status_name(code)));
    return;
  }
  std::fprintf(stderr, "nothing was thrown in place of %s\n", blitz_status_name(code));
  std::exit(1);
}

inline bool holds(const std::string &text, const char *wanted) {
  bool found = text.find(wanted) != std::string::npos;
  if (!found) std::fprintf(stderr, "no %s in %s\n", wanted, text.c_str());
  return found;
}

#endif
