#!/bin/sh
# Writes the Python code for parakeetd_proto/*.proto next to them. Run it after changing one, and commit the result.
#
#   proto/generate.sh            generate in place
#   proto/generate.sh --check    change nothing; exit 1 and print the difference if the committed code is not current
#
# The tools are pinned and live in a throw-away environment: code made by newer ones refuses the oldest protobuf that
# parakeetd supports. PYTHON names the interpreter (3.11 to 3.13) they are installed for.
set -eu

tools='grpcio-tools==1.68.1 protobuf==5.29.5 mypy-protobuf==3.7.0'

case "${1-}" in
'' | --check) ;;
*)
    echo "usage: proto/generate.sh [--check]" >&2
    exit 2
    ;;
esac

root=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"${PYTHON:-python3}" -m venv "$work/venv"
# shellcheck disable=SC2086  # one word for each tool
"$work/venv/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: $tools

mkdir "$work/out"
(
    cd "$root"
    PATH="$work/venv/bin:$PATH" "$work/venv/bin/python" -m grpc_tools.protoc --proto_path=. \
        --python_out="$work/out" --mypy_out=quiet:"$work/out" \
        --grpc_python_out="$work/out" --mypy_grpc_out=quiet:"$work/out" \
        parakeetd_proto/*.proto
)
# Files without a service get an empty module from the gRPC plugin.
for proto in "$root"/parakeetd_proto/*.proto; do
    grep -q '^service ' "$proto" || rm -f "$work/out/parakeetd_proto/$(basename "$proto" .proto)"_pb2_grpc.py*
done

if [ "${1-}" = --check ]; then
    mkdir "$work/committed"
    cp "$root"/parakeetd_proto/*_pb2*.py* "$work/committed" 2>/dev/null || true
    if ! diff -ru "$work/committed" "$work/out/parakeetd_proto"; then
        echo "proto: the generated code is not current; run proto/generate.sh and commit the result" >&2
        exit 1
    fi
else
    rm -f "$root"/parakeetd_proto/*_pb2*.py*
    cp "$work"/out/parakeetd_proto/*_pb2*.py* "$root/parakeetd_proto/"
fi
