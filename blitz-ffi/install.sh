#!/usr/bin/env bash
# Installs the C library: install.sh <folder of the built library> <prefix>. DESTDIR goes before the prefix. Safe to repeat.
set -euo pipefail

built=$1
prefix=$2
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
to=${DESTDIR:-}$prefix
header=$here/include/blitz.h

number() { sed -n "s/^#define BLITZ_$1 \"\{0,1\}\([0-9.]*\)\"\{0,1\}$/\1/p" "$header"; }
version=$(number VERSION)
abi=$(number ABI_VERSION)
# What the standard library and SQLite need of the system: `cargo rustc … -- --print native-static-libs`.
static_libs="-lpthread -ldl -lm"

fill() {
    sed -e "s|@PREFIX@|$prefix|g" -e "s|@VERSION@|$version|g" -e "s|@ABI@|$abi|g" \
        -e "s|@MAJOR@|$(number VERSION_MAJOR)|g" -e "s|@MINOR@|$(number VERSION_MINOR)|g" \
        -e "s|@STATIC_LIBS@|$2|g" "$here/$1.in"
}

install -d "$to/include" "$to/lib/pkgconfig" "$to/lib/cmake/Blitz"
install -m 644 "$here/include/blitz.h" "$here/include/blitz.hpp" "$to/include/"
install -m 755 "$built/libblitz_ffi.so" "$to/lib/libblitz.so.$version"
ln -sf "libblitz.so.$version" "$to/lib/libblitz.so.$abi"
ln -sf "libblitz.so.$abi" "$to/lib/libblitz.so"
install -m 644 "$built/libblitz_ffi.a" "$to/lib/libblitz.a"
# More than half of the archive is the compiler's own code and its notes, which no linker reads.
if [ "$(uname -s)" = Linux ] && command -v objcopy >/dev/null; then
    objcopy --strip-debug --remove-section=.llvmbc --remove-section=.llvmcmd "$to/lib/libblitz.a"
fi
fill blitz.pc "$static_libs" >"$to/lib/pkgconfig/blitz.pc"
# CMake wants a list.
fill cmake/BlitzConfig.cmake "${static_libs// /;}" >"$to/lib/cmake/Blitz/BlitzConfig.cmake"
fill cmake/BlitzConfigVersion.cmake "$static_libs" >"$to/lib/cmake/Blitz/BlitzConfigVersion.cmake"
