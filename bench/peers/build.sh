#!/bin/sh
# Builds the echo driver and the peers, all with the same flags. bench/run builds Ringway with them too.
#
#   bench/peers/build.sh [--print-flags]
#
# The binaries go to $CARGO_TARGET_DIR/release, or to target/release of each package.
set -eu

# Every contestant is built for this CPU. Set BENCH_RUSTFLAGS to change that for all of them.
flags=${BENCH_RUSTFLAGS:--C target-cpu=native}
if [ "${1:-}" = --print-flags ]; then
    printf '%s\n' "$flags"
    exit 0
fi
here=$(cd "$(dirname "$0")" && pwd)
for package in "$here/../driver" "$here"; do
    RUSTFLAGS=$flags cargo build --release --locked --manifest-path "$package/Cargo.toml"
done
