#!/bin/sh
# Builds the echo driver and the compiled peers, all for this CPU. bench/run builds Ringway with the same flags.
#
#   bench/peers/build.sh [--print-flags | --print-cflags]
#
# The Rust binaries go to $CARGO_TARGET_DIR/release, or to target/release of each package; the C++ binaries to native/build. A C++
# peer whose library is not installed is left out and named: bench/peers/install gets it.
set -eu

# Set BENCH_RUSTFLAGS to change the flags of all Rust contestants, BENCH_CFLAGS those of all in C and C++.
flags=${BENCH_RUSTFLAGS:--C target-cpu=native}
cflags=${BENCH_CFLAGS:--O3 -march=native -flto=auto}
case ${1:-} in
    --print-flags) printf '%s\n' "$flags"; exit 0 ;;
    --print-cflags) printf '%s\n' "$cflags"; exit 0 ;;
esac
here=$(cd "$(dirname "$0")" && pwd)
for package in "$here/../driver" "$here"; do
    RUSTFLAGS=$flags cargo build --release --locked --manifest-path "$package/Cargo.toml"
done

# The folder of the crate with the sources of uWebSockets; Cargo downloads it when it is not there.
sources=$(cargo metadata --locked --format-version 1 --manifest-path "$here/native/uwebsockets/Cargo.toml" |
    sed 's/.*"manifest_path":"\([^"]*libuwebsockets-sys[^"]*\)\/Cargo.toml".*/\1/')/uWebSockets

peers=
# want PEER HEADER…: builds it when its libraries are there.
want() {
    peer=$1
    shift
    if printf '#include <%s>\n' "$@" | c++ -I "$sources/src" -I "$sources/uSockets/src" -std=c++20 -fsyntax-only -x c++ - 2>/dev/null; then
        peers="$peers build/$peer-echo"
    else
        echo "$peer-echo is left out: <$*> does not compile here; bench/peers/install gets it" >&2
    fi
}
want uwebsockets libusockets.h openssl/ssl.h zlib.h
want beast boost/version.hpp openssl/ssl.h
want websocketpp websocketpp/version.hpp
want libwebsockets libwebsockets.h
if [ -n "$peers" ]; then
    # shellcheck disable=SC2086 # a list of words
    make --no-print-directory -C "$here/native" UWS="$sources" OPTIMISATION="$cflags" $peers
fi
