#!/usr/bin/env bash
# Fetches an older C library with its headers, and an older OpenMP library, from a release of Debian into a folder, for SYSROOT of
# packaging/wheels.sh: what is built with these runs wherever the C library is as old. Needs apt and its keyring; neither the
# machine's packages nor its lists of them are touched.
#
#     packaging/sysroot.sh FOLDER [RELEASE]        # by default bullseye, with glibc 2.31
set -euo pipefail
folder=$(realpath -m "${1:?a folder}")
release=${2:-bullseye}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$folder" "$work"/{lists/partial,cache/archives/partial}
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian $release main" >"$work/sources.list"
options=(-qq -o Dir::Etc::sourcelist="$work/sources.list" -o Dir::Etc::sourceparts=- -o Dir::State::lists="$work/lists"
    -o Dir::Cache="$work/cache" -o Dir::State::status=/dev/null -o APT::Sandbox::User=root)
apt-get "${options[@]}" update
(cd "$work" && apt-get "${options[@]}" download libc6 libc6-dev linux-libc-dev libcrypt-dev libgomp1)
for package in "$work"/*.deb; do
    dpkg-deb -x "$package" "$folder"
done
# absolute links would lead out of the folder
find "$folder" -type l -lname '/*' | while read -r link; do
    ln -sfn "$folder$(readlink "$link")" "$link"
done
# what the linker looks for: without it it takes the compiler's own, which wants a newer C library
for library in "$folder"/usr/lib/*-linux-gnu/libgomp.so.1; do
    ln -sfn libgomp.so.1 "${library%.1}"
done
