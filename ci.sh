#!/usr/bin/env bash
# All checks that a change must pass: ./ci.sh --help
# The stages are a program: tests/xtask.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
if ! command -v cargo >/dev/null; then
    echo "FAILED: cargo is missing; see https://rustup.rs" >&2
    exit 1
fi
builds="${CARGO_TARGET_DIR:-target}/xtask"
cargo build --quiet --locked --manifest-path tests/xtask/Cargo.toml --target-dir "$builds"
exec "$builds/debug/xtask" "$@"
