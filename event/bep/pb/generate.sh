#!/bin/sh
# Makes the Go code of the .proto files, in the directory given or here. It needs protoc: Debian's protobuf-compiler.
out=$(realpath "${1:-.}")
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir -p "$root/k6x/event/bep"
ln -s "$(pwd)" "$root/k6x/event/bep/pb"
protoc -I "$root" --plugin=protoc-gen-go="$(go tool -n protoc-gen-go)" \
  --go_out="$out" --go_opt=module=k6x/event/bep/pb k6x/event/bep/pb/bep.proto k6x/event/bep/pb/command_line.proto
