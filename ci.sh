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

# Where the budgets are measured, each on a board that QEMU emulates.
readonly BUDGET_TARGETS=(thumbv7m-none-eabi riscv32imc-unknown-none-elf)

readonly MSRV="1.91"
readonly EXAMPLE_SECONDS=60
readonly FUZZ_SECONDS="${FUZZ_SECONDS:-60}"
readonly SIM_SEEDS=300000

# With less than that left, CI keeps no build that no later stage uses.
readonly DISK_SHORT_MIB=4096

# How far a count may be off the baseline. They do not scatter, but the copying
# of bytes is done in other ways on other processors.
readonly INSTRUCTIONS_TOLERANCE_PERMILLE=20

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
  no_panic  the linker's proof that the core has no panic path, and a search of a
            linked program for one that the stack would bring into a firmware
  budgets   the same client on bare smoltcp and on lastbyte, on a Cortex-M3 and on
            riscv32, side by side: flash, memory, stack, instructions
  firmware  the firmware of each board, booted in QEMU, against real sockets
  sim       300,000 simulated networks, others with each commit

Only when asked for:

  teeth     break rules on purpose, and see that the simulator and the fuzzer's
            corpus find each
  stress    4,000 short runs of the command in namespaces of their own, by every kind of
            end, SIGKILL included, and nothing may be left of them; in some ten minutes
            ($STRESS_RUNS for another number)
  instructions
            what single calls cost, counted by valgrind, against bare smoltcp and
            the baseline in the repository (INSTRUCTIONS=accept replaces that)
  bench     how fast it is, in some minutes: over a TAP, against a bare smoltcp loop and
            the kernel, and over slow lines in virtual time, with and without losses;
            draws shim/host/benches/throughput.svg and slow_lines.svg ($BENCH=throughput or
            BENCH=slow_lines for one of the two; $BENCH_ARGS instead of the picture:
            BENCH_ARGS=--quick for a first look, BENCH_ARGS=--help)
  fuzz      arbitrary segments and calls for a minute ($FUZZ_SECONDS for longer);
            the tests replay what was found before
  mutants   changes the core and the stack in a thousand small ways, one at a time,
            and sees that the tests notice, but for what tests/survivors.txt names
            with a reason; more than an hour ($MUTANTS_ARGS for a part of them:
            MUTANTS_ARGS='--re src/core/timers.rs')

  help      this text

Builds go to $CARGO_TARGET_DIR, else to target/. With CI=true they are made small,
and where the disk is short each is removed as soon as no later stage uses it.
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

# Leaves out what only helps the next build, and what only a debugger reads; names
# and lines stay in the backtraces of what is not optimised.
spare_the_disk() {
    export CARGO_INCREMENTAL=0
    export CARGO_PROFILE_DEV_DEBUG=line-tables-only
}

disk_left_mib() {
    mkdir -p "$(target_dir)"
    df --output=avail --block-size=1M "$(target_dir)" | tail -n 1
}

# Where the disk is short: removes what none of the stages after this one uses.
sweep() { # STAGE
    local name names=()
    (($(disk_left_mib) < DISK_SHORT_MIB)) || return 0
    case "$1" in
        examples) names=(debug doc) ;;
        no_std) names=("${TARGETS[@]}" debug) ;;
        no_panic) names=(no-panic no-panic-stack judge) ;;
        budgets) names=(budgets) ;;
        firmware) names=(firmware) ;;
    esac
    for name in "${names[@]}"; do
        run rm -rf "$(target_dir)/$name"
    done
}

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
    # Commands, and a header by its path.
    local wanted=(ip:iproute2 nc:netcat-openbsd python3:python3 nft:nftables iptables:iptables
        cc:gcc /usr/include/lwip/lwip/tcp.h:liblwip-dev)
    local pair packages=()
    # Debian keeps some of them where only root looks.
    local PATH="$PATH:/usr/sbin:/sbin"
    for pair in "${wanted[@]}"; do
        [[ "$pair" == /* && -e "${pair%%:*}" ]] || command -v "${pair%%:*}" >/dev/null ||
            packages+=("${pair##*:}")
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

# Emulators and what reads programs; says what is left out where they are missing.
want_programs() { # CONSEQUENCE PROGRAM:PACKAGE...
    local consequence="$1" pair packages=()
    shift
    for pair in "$@"; do
        command -v "${pair%%:*}" >/dev/null || packages+=("${pair##*:}")
    done
    ((${#packages[@]} > 0)) || return 0
    local install="apt-get install -y --no-install-recommends ${packages[*]}"
    if [[ "$(id -u)" == 0 ]] && command -v apt-get >/dev/null; then
        say "install ${packages[*]}"
        # shellcheck disable=SC2086 # a list of words
        if apt-get update -q && DEBIAN_FRONTEND=noninteractive $install; then
            return 0
        fi
    fi
    note "$consequence: ${packages[*]} missing; as root on Debian: $install"
    return 1
}

tools_dir() {
    printf '%s/tools' "$(target_dir)"
}

# Instructions are counted by valgrind, which gungraun's own program starts; its
# version must be that of the library.
want_callgrind() {
    local version runner
    version="$(sed -n '/^name = "gungraun"$/{n;s/version = "\(.*\)"/\1/p}' Cargo.lock)"
    runner="$(tools_dir)/bin/gungraun-runner"
    if ! command -v valgrind >/dev/null; then
        local install="apt-get install -y --no-install-recommends valgrind"
        if [[ "$(id -u)" != 0 ]] || ! command -v apt-get >/dev/null ||
            ! { apt-get update -q && DEBIAN_FRONTEND=noninteractive $install; }; then
            note "NO INSTRUCTIONS ARE COUNTED: valgrind is missing; as root on Debian: $install"
            return 1
        fi
    fi
    if [[ "$("$runner" --version 2>/dev/null)" != *" $version" ]] &&
        ! run cargo install gungraun-runner --version "=$version" --locked --root "$(tools_dir)"; then
        note "NO INSTRUCTIONS ARE COUNTED: gungraun-runner $version cannot be installed"
        return 1
    fi
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

want_mutants() {
    if ! cargo mutants --version >/dev/null 2>&1 && ! run cargo install cargo-mutants --locked; then
        note "NOTHING IS MUTATED: cargo-mutants is missing; cargo install cargo-mutants --locked"
        return 1
    fi
}

# ---- stages ----

stage_fmt() {
    need_component fmt rustfmt
    run cargo fmt --all --check
    run cargo fmt --manifest-path tests/no-panic/Cargo.toml --check
    run cargo fmt --manifest-path tests/no-panic/judge/Cargo.toml --check
    run cargo fmt --manifest-path tests/budgets/Cargo.toml --check
    run cargo fmt --manifest-path tests/fuzz/Cargo.toml --check
    run cargo fmt --manifest-path tests/unification/Cargo.toml --check
}

stage_lint() {
    need_component clippy clippy
    run cargo clippy --locked --workspace --all-targets -- -D warnings
    run cargo clippy --locked -p lastbyte --lib --no-default-features -- -D warnings
    run cargo clippy --locked -p lastbyte --lib --all-features -- -D warnings
    run cargo clippy --locked -p lastbyte-sim --lib --no-default-features -- -D warnings
    need_targets thumbv7m-none-eabi
    run cargo clippy --locked --manifest-path tests/no-panic/Cargo.toml \
        --target thumbv7m-none-eabi --target-dir "$(target_dir)/no-panic" \
        --features ipv6 -- -D warnings
    run cargo clippy --locked --manifest-path tests/no-panic/judge/Cargo.toml \
        --target-dir "$(target_dir)/judge" -- -D warnings
    local target
    need_targets "${BUDGET_TARGETS[@]}"
    for target in "${BUDGET_TARGETS[@]}"; do
        run cargo clippy --locked --manifest-path tests/budgets/Cargo.toml \
            --target "$target" --target-dir "$(target_dir)/budgets" -- -D warnings
    done
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
    # lastbyte built for less than smoltcp is, both ways round.
    local features
    for features in ipv4,ip ipv6,ip ipv4,ethernet ipv6,ethernet; do
        run cargo test --locked --manifest-path tests/unification/Cargo.toml \
            --target-dir "$(target_dir)/unification" --features "$features" --no-fail-fast
    done
}

stage_doc() {
    local page
    page="$(target_dir)/doc/lastbyte/transition/index.html"
    local -x RUSTDOCFLAGS="-D warnings"
    run cargo doc --locked --no-deps -p lastbyte --no-default-features
    run cargo doc --locked --no-deps -p lastbyte --all-features
    run cargo doc --locked --no-deps -p lastbyte-sim -p lastbyte-host -p lastbyte-cli --lib
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
    # Optimised: one of them runs thousands of networks, and the simulator is built so anyway.
    run cargo build --locked --release -p lastbyte-examples --examples
    for name in "${names[@]}"; do
        say "example $name"
        # No input, so that none waits for a person.
        timeout --kill-after=5 "$EXAMPLE_SECONDS" \
            "$(target_dir)/release/examples/$name" </dev/null ||
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
        --target thumbv7m-none-eabi --target-dir "$(target_dir)/no-panic" --bin core \
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
    judge_stack
}

# Builds the program with the whole stack in it and prints what is found there.
# Calls that look alike are not merged into one: it would belong to nobody.
search_stack() { # OPT_LEVEL FEATURES
    local apart="-C llvm-args=-enable-tail-merge=0 -C llvm-args=-simplifycfg-sink-common=false"
    CARGO_PROFILE_RELEASE_OPT_LEVEL="$1" RUSTFLAGS="-C link-arg=--emit-relocs $apart" \
        cargo build --locked --quiet --release --manifest-path tests/no-panic/Cargo.toml \
        --target thumbv7m-none-eabi --target-dir "$(target_dir)/no-panic-stack" \
        --bin stack --features "$2" || return 2
    cargo run --locked --quiet --manifest-path tests/no-panic/judge/Cargo.toml \
        --target-dir "$(target_dir)/judge" -- \
        "$(target_dir)/no-panic-stack/thumbv7m-none-eabi/release/stack" \
        "$PWD/src/" "$PWD/tests/no-panic/src/" src/bin/ \
        --may-panic /smoltcp- --may-panic /embedded-io-
}

judge_stack() {
    local opt_level features found status panic
    for opt_level in s 3; do
        say "the stack, opt-level $opt_level: panics on purpose must be found"
        status=0
        found="$(search_stack "$opt_level" stack,sabotage)" || status=$?
        ((status == 1)) || fail "the search for panics does not work (status $status)"
        for panic in "names this place: src/bin/stack.rs" "sabotage::place at" "sabotage::inside at"; do
            grep -qF "$panic" <<<"$found" || fail "the search does not find: $panic"
        done
        for features in stack ipv6; do
            say "the stack, opt-level $opt_level, feature $features: no panic may be ours"
            search_stack "$opt_level" "$features" ||
                fail "A PANIC PATH IS LEFT in what a firmware gets, or the search failed"
        done
    done
    printf '  no panic in a firmware is the fault of lastbyte\n'
}

sections_of() { # PROGRAM SECTION...
    local program="$1"
    shift
    size -A "$program" | awk -v wanted=" $* " \
        'index(wanted, " " $1 " ") { sum += $2 } END { print sum + 0 }'
}

# Runs a program of tests/budgets to its end; prints its lines of numbers.
emulate() { # TARGET PROGRAM
    local board=(qemu-system-arm -M lm3s6965evb)
    [[ "$1" != riscv32* ]] || board=(qemu-system-riscv32 -M virt -bios none)
    timeout --kill-after=5 60 "${board[@]}" -nographic -icount shift=0 \
        -semihosting-config enable=on,target=native -kernel "$2" </dev/null 2>&1 |
        sed -n 's/^= //p'
}

# Prints what a client of tests/budgets takes on a target, a figure a line.
measure_budget() { # TARGET CLIENT
    local built one two figures
    built="$(target_dir)/budgets/$1/release/$2"
    local build=(cargo build --locked --quiet --release --manifest-path tests/budgets/Cargo.toml
        --target "$1" --target-dir "$(target_dir)/budgets" --bin "$2")
    "${build[@]}" --features two || return 1
    two="$(sections_of "$built" .data .bss)"
    "${build[@]}" || return 1
    one="$(sections_of "$built" .data .bss)"
    figures="$(emulate "$1" "$built")"
    [[ "$(wc -w <<<"$figures")" == 10 ]] || {
        printf 'the emulated board says: %s\n' "$figures" >&2
        return 1
    }
    printf 'flash %d\nram %d\nconnection %d\n' "$(sections_of "$built" .text .rodata)" \
        "$one" $((two - one))
    awk 'NF == 1 { printf "stack %d\n", $1 }
         NF == 3 { printf "w%d %.2f\n", $1, $3 * $1 / $2 }' <<<"$figures"
}

# Prints what the guard alone takes on a target: instructions for a write of 1460
# octets, and flash.
measure_guard() { # TARGET
    local built with without figures
    built="$(target_dir)/budgets/$1/release"
    local build=(cargo build --locked --quiet --release --manifest-path tests/budgets/Cargo.toml
        --target "$1" --target-dir "$(target_dir)/budgets" --bin)
    "${build[@]}" guard || return 1
    figures="$(emulate "$1" "$built/guard")"
    [[ "$figures" =~ ^[0-9]+\ [0-9]+\ [0-9]+$ ]] || {
        printf 'the emulated board says: %s\n' "$figures" >&2
        return 1
    }
    "${build[@]}" steps || return 1
    without="$(sections_of "$built/steps" .text .rodata)"
    "${build[@]}" steps --features guard || return 1
    with="$(sections_of "$built/steps" .text .rodata)"
    awk '{ printf "guard_w1460 %.0f\n", ($2 - $3) * 1460 / $1 }' <<<"$figures"
    printf 'guard_flash %d\n' $((with - without))
}

# Holds what the guard takes to its ceilings; the share is of a write without it.
check_guard() { # TARGET GUARD_FIGURES OUR_FIGURES
    awk -v target="$1" '
        FILENAME == ARGV[1] { if ($1 == target) ceiling[$2] = $3; next }
        FILENAME == ARGV[2] { if ($1 == "w1460") ours = $2; next }
        {
            exceeds = !($1 in ceiling) || $2 <= 0 || $2 > ceiling[$1]
            bad = bad || exceeds
            if ($1 == "guard_w1460") {
                text = "its guard, a write of 1460"
                note = sprintf("  %.1f %% more than without", 100 * $2 / (ours - $2))
            } else {
                text = "its guard, flash"
                note = ""
            }
            printf "    %-40s %9s %9s %9d %9d%s%s\n", text, "", "", $2, ceiling[$1], note, \
                exceeds ? "  TOO MUCH" : ""
        }
        END { exit bad }
    ' tests/budgets/ceilings.txt <(printf '%s\n' "$3") <(printf '%s\n' "$2")
}

# Sets what both clients take side by side and holds the difference to its
# ceiling; fails if one is exceeded.
compare_budgets() { # TARGET BARE_FIGURES OUR_FIGURES
    awk -v target="$1" '
        BEGIN {
            text["flash"] = "flash, octets"
            text["ram"] = "static memory, octets"
            text["connection"] = "static memory of one more connection"
            text["stack"] = "stack, octets"
            text["w16"] = "instructions an octet, writes of 16"
            text["w64"] = "instructions an octet, writes of 64"
            text["w1460"] = "instructions an octet, writes of 1460"
            printf "  %-42s %9s %9s %9s %9s\n", target, "smoltcp", "lastbyte", "more", "at most"
        }
        FILENAME == ARGV[1] { if ($1 == target) ceiling[$2] = $3; next }
        FILENAME == ARGV[2] { bare[$1] = $2; next }
        {
            octets = 1; unit = ""; more = $2 - bare[$1]
            if ($1 ~ /^w/) octets = substr($1, 2)
            if ($1 == "w1460") { more = 1000 * more / bare[$1]; unit = " %" }
            if (!($1 in ceiling)) { printf "no ceiling for %s of %s\n", $1, target; bad = 1; next }
            exceeds = more > ceiling[$1]
            bad = bad || exceeds
            form = octets > 1 ? "%9.2f %9.2f" : "%9d %9d"
            printf "    %-40s " form, text[$1], bare[$1] / octets, $2 / octets
            if (unit != "") printf " %7.1f %% %7.1f %%", more / 10, ceiling[$1] / 10
            else printf " %9d %9d", more, ceiling[$1]
            if ($1 == "w16" || $1 == "w64") printf "  a write"
            printf "%s\n", exceeds ? "  TOO MUCH" : ""
        }
        END { exit bad }
    ' tests/budgets/ceilings.txt <(printf '%s\n' "$2") <(printf '%s\n' "$3")
}

stage_budgets() {
    local target bare ours guard exceeded=()
    if ! want_programs "NO BUDGET IS MEASURED" qemu-system-arm:qemu-system-arm \
        qemu-system-riscv32:qemu-system-misc size:binutils; then
        [[ "${CI:-}" != true ]] || fail "CI measures the budgets"
        return 0
    fi
    need_targets "${BUDGET_TARGETS[@]}"
    printf '  the same client twice, Ethernet and IPv4, opt-level s:\n'
    for target in "${BUDGET_TARGETS[@]}"; do
        bare="$(measure_budget "$target" bare)" || fail "nothing is measured of bare smoltcp on $target"
        ours="$(measure_budget "$target" writer)" || fail "nothing is measured of lastbyte on $target"
        guard="$(measure_guard "$target")" || fail "nothing is measured of the guard on $target"
        compare_budgets "$target" "$bare" "$ours" || exceeded+=("$target")
        check_guard "$target" "$guard" "$ours" || exceeded+=("the guard on $target")
    done
    ((${#exceeded[@]} == 0)) ||
        fail "more than tests/budgets/ceilings.txt allows on ${exceeded[*]}"
}

# Each package is its own workspace: in its directory, where cargo finds the
# target and the runner of a board.
stage_firmware() {
    local package here build target=()
    need_component fmt rustfmt
    need_component clippy clippy
    need_targets thumbv7m-none-eabi riscv32imc-unknown-none-elf
    want_network_tools
    # The tests say which of them cannot run, and fail where CI is true.
    want_programs "NOT EVERY FIRMWARE IS RUN" \
        qemu-system-arm:qemu-system-arm qemu-system-riscv32:qemu-system-misc || true
    here="$PWD"
    build="$(target_dir)/firmware"
    mkdir -p "$build"
    local -x CARGO_TARGET_DIR
    CARGO_TARGET_DIR="$(realpath "$build")"
    for package in examples/firmware/*/Cargo.toml; do
        cd "$here/${package%/Cargo.toml}"
        run cargo fmt --check
        case "$package" in
            */app/*) run cargo clippy --locked --all-targets -- -D warnings ;&
            */semihost/*) target=(--target thumbv7m-none-eabi) ;;
            */host/*) target=(--all-targets) ;;
            # A board has its target in its .cargo/config.toml.
            *) target=(--release) ;;
        esac
        run cargo clippy --locked "${target[@]}" -- -D warnings
    done
    cd "$here/examples/firmware/app"
    run cargo test --locked
    cd "$here/examples/firmware/host"
    # The tests build the firmware of each board.
    run cargo test --locked
    cd "$here"
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
    run cargo run --locked --quiet --release -p lastbyte-cli --bin lastbyte -- \
        sim --seeds "$first..$((first + SIM_SEEDS))"
}

stage_teeth() {
    # A rule can only be broken in what is built so; the other builds stay.
    local build
    build="$(target_dir)/sabotage"
    local -x RUSTFLAGS="${RUSTFLAGS:-} --cfg lastbyte_sabotage" CARGO_TARGET_DIR="$build"
    run cargo test --locked --release -p lastbyte-sim --test teeth --test guest_teeth -- --nocapture
    run cargo test --locked --release -p lastbyte --test fuzz_teeth -- --nocapture
}

stage_stress() {
    want_network_tools
    run cargo test --locked -p lastbyte-cli --test stress
}

# The instructions of each call: its name, lastbyte's and those of bare smoltcp.
count_calls() { # OUTPUT_OF_THE_BENCHMARK
    awk '/^instructions::/ {
             split($1, path, "::")
             call = path[3]
             who = call ~ /_bare/ ? "bare" : "ours"
             sub(/_(ours|bare).*/, "", call)
             split($2, id, ":")
             call = call "." id[1]
             if (!(call in known)) { known[call]; order[++calls] = call }
         }
         $1 == "Instructions:" { split($2, count, "|"); instructions[call, who] = count[1] }
         END {
             for (i = 1; i <= calls; i++)
                 print order[i], instructions[order[i], "ours"], instructions[order[i], "bare"]
         }' "$1"
}

stage_instructions() {
    local baseline=shim/host/benches/instructions/baseline.tsv compiler output counted
    if ! want_callgrind; then
        [[ "${CI:-}" != true ]] || fail "CI counts instructions"
        return 0
    fi
    compiler="$(rustc --version | cut -d' ' -f2)"
    output="$(target_dir)/instructions.txt"
    counted="$(target_dir)/instructions.tsv"
    # Cargo starts a benchmark in the folder of its package.
    GUNGRAUN_RUNNER="$(realpath "$(tools_dir)/bin/gungraun-runner")" \
        GUNGRAUN_HOME="$(realpath "$(target_dir)")/gungraun" \
        cargo bench --locked -p lastbyte-host --bench instructions >"$output" ||
        fail "nothing was counted"
    count_calls "$output" >"$counted"
    awk 'NF != 3 || $2 !~ /^[0-9]+$/ || $3 !~ /^[0-9]+$/ { bad = 1 } END { exit bad || NR < 10 }' \
        "$counted" || fail "cannot read $output"
    if [[ "${INSTRUCTIONS:-}" == accept ]]; then
        { printf '# rustc %s\n' "$compiler"; cat "$counted"; } >"$baseline"
        printf '  accepted into %s\n' "$baseline"
    fi
    local same=1
    if [[ "$(head -n 1 "$baseline")" != "# rustc $compiler" ]]; then
        same=0
        note "NOT COMPARED WITH $baseline, which is of another compiler: $(head -n 1 "$baseline")"
    fi
    awk -v same="$same" -v tolerance="$INSTRUCTIONS_TOLERANCE_PERMILLE" '
        BEGIN {
            printf "  %-20s %9s %9s %9s %9s %9s\n", \
                "instructions of", "lastbyte", "bare", "more", "percent", "before"
        }
        FNR == NR { if ($1 != "#") before[$1] = $2; next }
        {
            was = $1 in before ? before[$1] : "-"
            printf "  %-20s %9d %9d %9d %8.1f%% %9s\n", \
                $1, $2, $3, $2 - $3, 100 * ($2 - $3) / $3, was
            seen[$1]
            if (!same) next
            if (was == "-") { print "  " $1 ": is not in the baseline"; wrong = 1; next }
            change = 1000 * ($2 - was) / was
            if (change > tolerance || change < -tolerance) {
                printf "  %s: %+.1f %% against the baseline\n", $1, change / 10
                wrong = 1
            }
        }
        END {
            for (call in before) if (!(call in seen)) { print "  " call ": is gone"; wrong = same }
            exit wrong
        }' "$baseline" "$counted" ||
        fail "not as in $baseline; if that is meant: INSTRUCTIONS=accept ./ci.sh instructions"
}

# Lets these tests judge the mutants that no judge before them has caught.
judge_mutants() { # OUTPUT PACKAGE CARGO_ARGUMENT...
    local output="$1" package="$2" argument arguments=() status=0
    shift 2
    for argument in "$@"; do
        arguments+=("-C=$argument")
    done
    # Two at a time, each built in a copy of the tree.
    # shellcheck disable=SC2086 # a list of words
    env -u CARGO_TARGET_DIR CARGO_PROFILE_DEV_DEBUG=none CARGO_PROFILE_TEST_DEBUG=none \
        cargo mutants --package lastbyte --test-package "$package" --iterate --jobs 2 \
        --output "$output" --timeout 40 --build-timeout 300 --baseline skip --colors never \
        ${MUTANTS_ARGS:-} -C=--locked "${arguments[@]}" || status=$?
    # 2: some are missed; 3: some timed out.
    ((status == 0 || status == 2 || status == 3)) || fail "cargo mutants (status $status)"
    # What hangs is caught as well: a test waited for it.
    cat "$output/mutants.out/timeout.txt" >>"$output/mutants.out/caught.txt"
    cat "$output/mutants.out/caught.txt" >>"$output/caught.txt"
    cat "$output/mutants.out/unviable.txt" >>"$output/unviable.txt"
    cp "$output/mutants.out/missed.txt" "$output/missed.txt"
}

# A mutant without its place, which moves with every line above it.
placeless() {
    sed -E 's/^([^:]+):[0-9]+:[0-9]+: /\1: /' "$@" | sort -u
}

# Those that have a reason behind them.
excused_mutants() {
    awk '/^src/ { name = $0; next } /^ +[^ ]/ && name { print name; name = "" }' tests/survivors.txt
}

stage_mutants() {
    local output
    if ! want_mutants; then
        [[ "${CI:-}" != true ]] || fail "CI mutates"
        return 0
    fi
    # Without a mutation every judge must be content.
    run cargo test --locked --quiet -p lastbyte -p lastbyte-sim --lib --tests
    output="$(target_dir)/mutants"
    rm -rf "$output"
    mkdir -p "$output"
    # The quick and sharp ones first.
    judge_mutants "$output" lastbyte --lib --test={machine,conformance}
    judge_mutants "$output" lastbyte --test=contract
    judge_mutants "$output" lastbyte-sim --lib
    judge_mutants "$output" lastbyte-examples --example=simulate_my_firmware
    local caught missed
    caught="$(grep -c . "$output/caught.txt" || true)"
    missed="$(grep -c . "$output/missed.txt" || true)"
    ((caught > 0)) || fail "no mutant was caught"
    awk -v caught="$caught" -v missed="$missed" -v none="$(grep -c . "$output/unviable.txt")" \
        'BEGIN { printf "  %d caught, %d missed: %.1f %%; %d do not build\n", \
                 caught, missed, 100 * caught / (caught + missed), none }'
    if comm -13 <(excused_mutants | sort -u) <(placeless "$output/missed.txt") | grep .; then
        fail "no test notices these, and tests/survivors.txt does not say why"
    fi
}

stage_bench() {
    want_network_tools
    local bench
    for bench in ${BENCH:-throughput slow_lines}; do
        # shellcheck disable=SC2086 # a list of words
        run cargo bench --locked -p lastbyte-host --bench "$bench" -- \
            ${BENCH_ARGS:---svg "$PWD/shim/host/benches/$bench.svg"}
    done
}

# ---- the order of things ----

main() {
    local all=(fmt lint msrv test doc examples no_std no_panic budgets firmware sim)
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
    if [[ "${CI:-}" == true ]]; then
        spare_the_disk
    fi
    for stage in "${stages[@]}"; do
        say "$stage"
        start=$SECONDS
        "stage_$stage"
        if [[ "${CI:-}" == true ]]; then
            sweep "$stage"
        fi
        timings+=("$(printf '%-9s %4d s' "$stage" $((SECONDS - start)))")
    done
    say "all stages passed"
    printf '  %s\n' "${timings[@]}"
}

main "$@"
