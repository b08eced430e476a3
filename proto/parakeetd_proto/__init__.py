"""Generated protobuf code of the APIs that parakeetd speaks. Regenerate with `proto/generate.sh`."""
