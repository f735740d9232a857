#!/usr/bin/env bash
# Builds the package and runs tests on a processor that is not at hand: in an emulator, on a Debian for x86-64.
#
#     apt install qemu-user gcc-aarch64-linux-gnu              # the second for AArch64 alone
#     packaging/emulated.sh cortex-a72                         # AArch64, with NEON and no more
#     packaging/emulated.sh Nehalem                            # x86-64 without AVX
#     packaging/emulated.sh Haswell -x tests/optim             # with AVX2; and what pytest is to do
#
# Any processor that qemu knows by `-cpu` will do, with one exception: `max` of AArch64, on which qemu 7.2 miscomputes NumPy itself.
# Without a choice of tests these are the digests of all recorded trainings, on one thread. Compilers are the machine's own and work
# at full speed, tests take ten to fifty times as long as elsewhere. Tests that start processes of their own are of no use here: on
# x86-64 these would leave the emulator, on AArch64 not begin. For AArch64 Python is Debian's, unpacked in a folder. Environment:
#
#     KEEP=folder    keeps what was unpacked and installed there, for the next time
#     CC             the compiler, for AArch64 by default aarch64-linux-gnu-gcc; FASTNN_* as for setup.py
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cpu=${1:?a processor, such as cortex-a72, Nehalem or Haswell}
shift
[ $# -gt 0 ] || set -- tests/test_digests.py -k '1]' --durations=10
work=$(realpath -m "${KEEP:-$(mktemp -d)}")
mkdir -p "$work"
[ -n "${KEEP:-}" ] || trap 'rm -rf "$work"' EXIT
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_QUIET=1 OPENBLAS_NUM_THREADS=1
unset PYTHONPATH PYTHONHOME VIRTUAL_ENV OPENBLAS_CORETYPE
needs=(numpy tqdm 'setuptools>=77' cython pytest pytest-benchmark hypothesis safetensors)

# The tree that is tested: built in place, since that needs nothing of pip's in the emulator.
tree=$work/tree-$cpu
mkdir -p "$tree"
tar -C "$root" -cf - --exclude=./.git --exclude=./build --exclude=./dist --exclude=./.venv --exclude='*.egg-info' --exclude='*.so' \
    --exclude=./fastnn/_native.c --exclude=__pycache__ . | tar -xf - -C "$tree"

tools=$work/tools
[ -e "$tools" ] || { python3 -m venv "$tools" && "$tools/bin/pip" install "${needs[@]}"; }

aarch64() {
    debian=$work/debian
    emulator=$(command -v qemu-aarch64 || command -v qemu-aarch64-static)
    if [ ! -e "$debian/usr/bin/python3" ]; then
        mkdir -p "$work"/{apt/lists/partial,apt/cache/archives/partial,debs} "$debian"
        touch "$work/apt/status"
        cat >"$work/apt/conf" <<CONF
APT::Architecture "arm64";
APT::Architectures { "arm64"; };
APT::Sandbox::User "root";
Acquire::Languages "none";
Dir::State "$work/apt";
Dir::State::status "$work/apt/status";
Dir::Cache "$work/apt/cache";
CONF
        # shellcheck disable=SC2030
        (
            export APT_CONFIG=$work/apt/conf
            apt-get -qq update
            # what Python needs, and that in turn, but not what only a whole system does
            mapfile -t packages < <(apt-get --simulate --no-install-recommends install python3-dev libgomp1 libstdc++6 | sed -n 's/^Inst \([^ ]*\).*/\1/p')
            cd "$work/debs"
            apt-get -qq download "${packages[@]}"
        )
        for package in "$work"/debs/*.deb; do dpkg -x "$package" "$debian"; done
    fi
    version=$(readlink "$debian/usr/bin/python3" | tr -d a-z)
    [ -e "$work/site" ] || python3 -m pip install --target "$work/site" --only-binary :all: --python-version "$version" \
        --platform manylinux_2_28_aarch64 --platform manylinux_2_27_aarch64 --platform manylinux2014_aarch64 "${needs[@]}"
    emulated() { PYTHONPATH=$work/site:$tree nice "$emulator" -cpu "$cpu" -L "$debian" "$debian/usr/bin/python3" "$@"; }
    # Python's headers alone: the compiler has those of its C library, and finds them first
    export CFLAGS="${CFLAGS:-} -I$debian/usr/include/python$version -idirafter $debian/usr/include"
    export CC=${CC:-aarch64-linux-gnu-gcc} LDSHARED="${CC:-aarch64-linux-gnu-gcc} -shared"
}
x86_64() {
    emulated() { PYTHONPATH=$tree nice qemu-x86_64 -cpu "$cpu" "$tools/bin/python" "$@"; }
}

cd "$tree"
"$tools/bin/python" setup.py --version >/dev/null # writes the extension's C, which takes minutes in an emulator
if grep -qw "$cpu" <<<"$(qemu-x86_64 -cpu help)"; then
    x86_64
    "$tools/bin/python" setup.py -q build_ext --inplace
else
    aarch64
    emulated setup.py -q build_ext --inplace
fi
emulated -c 'import fastnn; fastnn.show_config(); fastnn.selftest()'
emulated -m pytest -p no:cacheprovider "$@"
