#!/usr/bin/env bash
# Everything that must hold before a change goes in. ./ci.sh help
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

readonly TARGETS=(
    thumbv6m-none-eabi
    thumbv7m-none-eabi
    thumbv7em-none-eabihf
    riscv32imc-unknown-none-elf
)

# What a firmware may turn on, each as `cargo --features` takes it.
readonly COMBINATIONS=(
    ""
    "log"
    "defmt"
    "defmt,log"
    "smoltcp,medium-ethernet,proto-ipv4"
    "smoltcp,medium-ethernet,proto-ipv6"
    "smoltcp,medium-ethernet,proto-ipv4,proto-ipv6"
    "smoltcp,medium-ip,proto-ipv4"
    "smoltcp,medium-ip,proto-ipv4,proto-ipv6"
    "smoltcp,medium-ethernet,medium-ip,proto-ipv4,proto-ipv6,defmt"
    "medium-ethernet,proto-ipv4,embassy-net-driver-v0.2"
    "medium-ip,proto-ipv6,embassy-net-driver-v0.2,defmt"
)

# As on docs.rs; a test compares it with Cargo.toml.
readonly DOCUMENTED="smoltcp,medium-ethernet,medium-ip,proto-ipv4,proto-ipv6,embassy-net-driver-v0.2,log"

readonly MSRV="1.91"
readonly EXAMPLE_SECONDS=60
readonly FUZZ_SECONDS="${FUZZ_SECONDS:-60}"
readonly SIM_SEEDS=300000

# What the guard may cost. The share of the instructions was meant to be 2 %;
# 2.98 % is measured. Reading the headers of what leaves and of every ACK is two
# fifths of it, and summing up each ACK again, which smoltcp does too without
# telling what it drops, another fifth. The figures do not scatter: the slack is
# for other compilers.
readonly COST_INSTRUCTIONS_PERMILLE=30
readonly COST_FLASH_BYTES=3072
readonly COST_RAM_BYTES=96

usage() {
    cat <<'TEXT'
usage: ./ci.sh [STAGE...]

Without a stage, all of them, in this order:

  fmt       formatting
  lint      clippy, warnings denied: the workspace, the core alone, all features
  msrv      the oldest supported compiler, or clippy's knowledge of it
  test      unit, integration and documentation tests
  doc       rustdoc, warnings denied
  examples  every example, each within a minute
  no_std    the core on bare-metal targets, over its combinations of features
  no_panic  the linker's proof that the core has no panic path
  cost      what the guard costs on a Cortex-M3: instructions, flash, memory
  sim       300,000 simulated networks, others with each commit

Only when asked for:

  teeth     break rules on purpose, and see that the simulator and the fuzzer's
            corpus find each
  fuzz      arbitrary segments and calls for a minute ($FUZZ_SECONDS for longer);
            the tests replay what was found before

  help      this text

Builds go to $CARGO_TARGET_DIR, else to target/.
TEXT
}

say() {
    printf '\n==> %s\n' "$*"
}

note() {
    printf '    note: %s\n' "$*" >&2
}

fail() {
    printf '\nFAILED: %s\n' "$*" >&2
    exit 1
}

run() {
    printf '  $ %s\n' "$*"
    "$@"
}

target_dir() {
    printf '%s' "${CARGO_TARGET_DIR:-target}"
}

# ---- what the machine must have ----

need_cargo() {
    command -v cargo >/dev/null || fail "cargo is missing; see https://rustup.rs"
}

need_component() { # COMMAND COMPONENT
    if ! cargo "$1" --version >/dev/null 2>&1; then
        command -v rustup >/dev/null || fail "cargo $1 is missing, and rustup to add it"
        run rustup component add "$2"
    fi
}

need_targets() { # TARGET...
    local target libdir missing=()
    for target in "$@"; do
        libdir="$(rustc --print target-libdir --target "$target" 2>/dev/null || true)"
        [[ -n "$libdir" && -d "$libdir" ]] || missing+=("$target")
    done
    if ((${#missing[@]} > 0)); then
        command -v rustup >/dev/null || fail "no standard library for ${missing[*]}, and no rustup"
        run rustup target add "${missing[@]}"
    fi
}

# The tests with real peers look for these themselves and say what they leave
# out, so nothing fails here.
want_network_tools() {
    local wanted=(ip:iproute2 nc:netcat-openbsd python3:python3 nft:nftables iptables:iptables)
    local pair packages=()
    # Debian keeps some of them where only root looks.
    local PATH="$PATH:/usr/sbin:/sbin"
    for pair in "${wanted[@]}"; do
        command -v "${pair%%:*}" >/dev/null || packages+=("${pair##*:}")
    done
    ((${#packages[@]} > 0)) || return 0
    local install="apt-get install -y --no-install-recommends ${packages[*]}"
    if [[ "$(id -u)" == 0 ]] && command -v apt-get >/dev/null; then
        say "install what the network tests use: ${packages[*]}"
        # shellcheck disable=SC2086 # a list of words
        if ! { apt-get update -q && DEBIAN_FRONTEND=noninteractive $install; }; then
            note "that did not work; the tests that need them will say so"
        fi
    else
        note "the network tests use what is missing here; as root on Debian: $install"
    fi
}

# The cost is measured on an emulated board, and read with binutils.
want_emulator() {
    local wanted=(qemu-system-arm:qemu-system-arm size:binutils readelf:binutils)
    local pair packages=()
    for pair in "${wanted[@]}"; do
        command -v "${pair%%:*}" >/dev/null || packages+=("${pair##*:}")
    done
    ((${#packages[@]} > 0)) || return 0
    local install="apt-get install -y --no-install-recommends ${packages[*]}"
    if [[ "$(id -u)" == 0 ]] && command -v apt-get >/dev/null; then
        say "install what the measurement uses: ${packages[*]}"
        # shellcheck disable=SC2086 # a list of words
        if apt-get update -q && DEBIAN_FRONTEND=noninteractive $install; then
            return 0
        fi
    fi
    note "THE COST IS NOT MEASURED: ${packages[*]} missing; as root on Debian: $install"
    return 1
}

# libFuzzer comes with a nightly compiler only.
want_fuzzer() {
    if ! cargo +nightly --version >/dev/null 2>&1; then
        if ! command -v rustup >/dev/null ||
            ! run rustup toolchain install nightly --profile minimal; then
            note "NOTHING IS FUZZED: no nightly compiler here; see https://rustup.rs, then:"
            note "rustup toolchain install nightly --profile minimal"
            return 1
        fi
    fi
    if ! cargo fuzz --version >/dev/null 2>&1 && ! run cargo install cargo-fuzz --locked; then
        note "NOTHING IS FUZZED: cargo-fuzz is missing; cargo install cargo-fuzz --locked"
        return 1
    fi
}

# ---- stages ----

stage_fmt() {
    need_component fmt rustfmt
    run cargo fmt --all --check
    run cargo fmt --manifest-path tests/no-panic/Cargo.toml --check
    run cargo fmt --manifest-path tests/cost/Cargo.toml --check
    run cargo fmt --manifest-path tests/fuzz/Cargo.toml --check
}

stage_lint() {
    need_component clippy clippy
    run cargo clippy --locked --workspace --all-targets -- -D warnings
    run cargo clippy --locked -p lastbyte --lib --no-default-features -- -D warnings
    run cargo clippy --locked -p lastbyte --lib --all-features -- -D warnings
    need_targets thumbv7m-none-eabi
    run cargo clippy --locked --manifest-path tests/no-panic/Cargo.toml \
        --target thumbv7m-none-eabi --target-dir "$(target_dir)/no-panic" -- -D warnings
    run cargo clippy --locked --manifest-path tests/cost/Cargo.toml \
        --target thumbv7m-none-eabi --target-dir "$(target_dir)/cost" -- -D warnings
}

stage_msrv() {
    if cargo "+$MSRV" --version >/dev/null 2>&1; then
        say "checking with the Rust $MSRV toolchain"
        run cargo "+$MSRV" check --locked --workspace --all-targets
        run cargo "+$MSRV" check --locked -p lastbyte --lib --no-default-features
    else
        note "NO RUST $MSRV TOOLCHAIN HERE: clippy::incompatible_msrv stands in for it."
        note "To check with the compiler itself: rustup toolchain install $MSRV --profile minimal"
        need_component clippy clippy
        run cargo clippy --locked --workspace --all-targets -- -D clippy::incompatible_msrv
        run cargo clippy --locked -p lastbyte --lib --all-features -- -D clippy::incompatible_msrv
    fi
}

stage_test() {
    want_network_tools
    run cargo test --locked --workspace --no-fail-fast
}

stage_doc() {
    local page
    page="$(target_dir)/doc/lastbyte/transition/index.html"
    local -x RUSTDOCFLAGS="-D warnings"
    run cargo doc --locked --no-deps -p lastbyte --no-default-features
    run cargo doc --locked --no-deps -p lastbyte --all-features
    run cargo doc --locked --no-deps -p lastbyte-shim --lib
    # Last, so that what stays in the directory is what is published.
    run cargo doc --locked --no-deps -p lastbyte --no-default-features --features "$DOCUMENTED"
    grep -q 'T153' "$page" || fail "the documentation does not show the transition table"
}

stage_examples() {
    local path name names=()
    for path in examples/*.rs examples/*/main.rs; do
        [[ -e "$path" ]] || continue
        name="${path#examples/}"
        name="${name%/main.rs}"
        names+=("${name%.rs}")
    done
    if ((${#names[@]} == 0)); then
        note "there are no examples"
        return 0
    fi
    run cargo build --locked -p lastbyte --examples
    for name in "${names[@]}"; do
        say "example $name"
        # No input, so that none waits for a person.
        timeout --kill-after=5 "$EXAMPLE_SECONDS" \
            "$(target_dir)/debug/examples/$name" </dev/null ||
            fail "example $name (status $?; 124: more than $EXAMPLE_SECONDS s)"
    done
}

stage_no_std() {
    local target features
    local -x RUSTFLAGS="-D warnings"
    need_targets "${TARGETS[@]}"
    for target in "${TARGETS[@]}"; do
        for features in "${COMBINATIONS[@]}"; do
            printf '  %-28s %s\n' "$target" "${features:-(no features)}"
            cargo build --locked --quiet -p lastbyte --lib \
                --target "$target" --no-default-features --features "$features" ||
                fail "does not build for $target with: ${features:-no features}"
        done
    done
}

# Links the proof; the linker's words go to the file.
link_proof() { # OPT_LEVEL OUTPUT [CARGO_ARGUMENT...]
    local opt_level="$1" output="$2"
    shift 2
    CARGO_PROFILE_RELEASE_OPT_LEVEL="$opt_level" \
        cargo build --locked --release --manifest-path tests/no-panic/Cargo.toml \
        --target thumbv7m-none-eabi --target-dir "$(target_dir)/no-panic" \
        "$@" >"$output" 2>&1
}

stage_no_panic() {
    local opt_level output
    need_targets thumbv7m-none-eabi
    mkdir -p "$(target_dir)/no-panic"
    output="$(target_dir)/no-panic/link.txt"
    say "with a panic on purpose it must not link"
    if link_proof 3 "$output" --features sabotage; then
        fail "the proof proves nothing: it links with a panic path in it"
    fi
    grep -q 'undefined symbol: a_panic_path_is_left' "$output" || {
        cat "$output" >&2
        fail "the proof does not build, for another reason than a panic path"
    }
    for opt_level in s 3; do
        say "the core, optimised with opt-level $opt_level, must link"
        link_proof "$opt_level" "$output" || {
            cat "$output" >&2
            if grep -q 'a_panic_path_is_left' "$output"; then
                fail "A PANIC PATH IS LEFT in the core: look for an index, a division," \
                    "unchecked arithmetic or an unwrap that was added (tests/no-panic)"
            fi
            fail "the proof does not build"
        }
    done
    printf '  the core has no panic path\n'
}

# Builds a program of tests/cost with these features; its path is $COST_PROGRAM.
build_cost() { # PROGRAM FEATURES
    cargo build --locked --quiet --release --manifest-path tests/cost/Cargo.toml \
        --target thumbv7m-none-eabi --target-dir "$(target_dir)/cost" \
        --bin "$1" --features "$2" || fail "tests/cost: $1 does not build"
    COST_PROGRAM="$(target_dir)/cost/thumbv7m-none-eabi/release/$1"
}

flash_of() { # PROGRAM
    size -A "$1" | awk '$1 == ".text" || $1 == ".rodata" { sum += $2 } END { print sum + 0 }'
}

# What the guard keeps of a connection, as the description of its types says.
row_of() { # PROGRAM
    readelf --debug-dump=info "$1" 2>/dev/null |
        awk '/DW_AT_name/ { is_row = / Row$/ }
             is_row && /DW_AT_byte_size/ { row = $NF }
             END { print row }'
}

count_instructions() { # PROGRAM
    timeout 60 qemu-system-arm -M lm3s6965evb -nographic -icount shift=0 \
        -semihosting-config enable=on,target=native -kernel "$1" </dev/null 2>/dev/null
}

stage_cost() {
    local bytes bare ours through past guard permille flash row features
    if ! want_emulator; then
        [[ "${CI:-}" != true ]] || fail "CI measures the cost"
        return 0
    fi
    need_targets thumbv7m-none-eabi

    build_cost instructions ""
    read -r bytes bare ours through past < <(count_instructions "$COST_PROGRAM") ||
        fail "the emulated board does not count"
    [[ "$bytes $bare $ours $through $past" =~ ^[0-9]+(\ [0-9]+){4}$ ]] ||
        fail "the emulated board says: $bytes $bare $ours $through $past"
    # The device and its peer, which answers, count for nobody.
    bare=$((bare - past))
    guard=$((through - past))
    ours=$((ours - past - guard))
    permille=$(((guard * 1000 + ours - 1) / ours))
    printf '  instructions for %d octets in writes of 1460, opt-level s:\n' "$bytes"
    awk -v bytes="$bytes" -v bare="$bare" -v ours="$ours" -v guard="$guard" \
        -v most="$COST_INSTRUCTIONS_PERMILLE" 'BEGIN {
        line = "    %-36s %9d  %5.2f an octet\n"
        printf line, "a bare smoltcp loop", bare, bare / bytes
        printf line, "lastbyte without its guard", ours, ours / bytes
        printf line, "the guard", guard, guard / bytes
        printf "    %-36s %8.2f %%  at most %.1f %%\n", "with the guard, more", \
            100 * guard / ours, most / 10
    }'

    for features in "" ipv6; do
        build_cost writer "$features"
        flash="$(flash_of "$COST_PROGRAM")"
        build_cost writer "guard,$features"
        flash=$(($(flash_of "$COST_PROGRAM") - flash))
        row="$(row_of "$COST_PROGRAM")"
        [[ "$row" =~ ^[0-9]+$ ]] || fail "no size of a row in $COST_PROGRAM"
        if [[ -z "$features" ]]; then
            printf '  Ethernet and IPv4:\n'
            printf '    %-36s %9d  at most %d\n' "the guard in flash, octets" "$flash" "$COST_FLASH_BYTES"
            ((flash > 0 && flash <= COST_FLASH_BYTES)) || fail "the guard takes $flash octets of flash"
        else
            printf '  with IPv6 beside it:\n'
            printf '    %-36s %9d\n' "the guard in flash, octets" "$flash"
        fi
        printf '    %-36s %9d  at most %d\n' "a connection in memory, octets" "$row" "$COST_RAM_BYTES"
        ((row <= COST_RAM_BYTES)) || fail "the guard takes $row octets a connection"
    done
    ((guard > 0 && permille <= COST_INSTRUCTIONS_PERMILLE)) ||
        fail "the guard takes $permille in 1000 instructions, more than $COST_INSTRUCTIONS_PERMILLE"
}

stage_fuzz() {
    local found
    if ! want_fuzzer; then
        [[ "${CI:-}" != true ]] || fail "CI fuzzes"
        return 0
    fi
    # What it learns on the way stays out of the repository: the corpus there is
    # minimised by hand (cargo fuzz cmin).
    found="$(target_dir)/fuzz-corpus"
    mkdir -p "$found"
    # With cfg(fuzzing), smoltcp would check no checksum.
    run cargo +nightly fuzz run --no-cfg-fuzzing --fuzz-dir tests/fuzz \
        --target-dir "$(target_dir)/fuzz" contract "$found" tests/fuzz/corpus/contract -- \
        -max_total_time="$FUZZ_SECONDS" -max_len=600 -print_final_stats=1 ||
        fail "the input is in tests/fuzz/artifacts; FUZZ_TRACE=1 in its environment tells more"
}

# A share of the seeds that moves with the commit, so that in time all are run.
stage_sim() {
    local first
    first=$(( $(git rev-list --count HEAD 2>/dev/null || echo 0) * SIM_SEEDS ))
    run cargo run --locked --quiet --release -p lastbyte-shim --bin lastbyte -- \
        sim --seeds "$first..$((first + SIM_SEEDS))"
}

stage_teeth() {
    run cargo test --locked --release -p lastbyte-shim --features sabotage --test teeth -- --nocapture
    run cargo test --locked --release -p lastbyte --features sabotage --test fuzz_teeth -- --nocapture
}

# ---- the order of things ----

main() {
    local all=(fmt lint msrv test doc examples no_std no_panic cost sim)
    local stages=("$@") stage start timings=()
    ((${#stages[@]} > 0)) || stages=("${all[@]}")
    for stage in "${stages[@]}"; do
        case "$stage" in
            help | -h | --help)
                usage
                return 0
                ;;
        esac
        declare -F "stage_$stage" >/dev/null || {
            usage >&2
            printf '\nno such stage: %s\n' "$stage" >&2
            return 2
        }
    done
    need_cargo
    for stage in "${stages[@]}"; do
        say "$stage"
        start=$SECONDS
        "stage_$stage"
        timings+=("$(printf '%-9s %4d s' "$stage" $((SECONDS - start)))")
    done
    say "all stages passed"
    printf '  %s\n' "${timings[@]}"
}

main "$@"
