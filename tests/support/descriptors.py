"""What of a protobuf file is visible on the wire. Needs protobuf only: it also runs in a client's environment."""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2 as pb


def on_the_wire(*files: Any) -> dict[str, dict[str, Any]]:
    """Messages, enums and services of `FileDescriptor`s by their full names.

    Left out is what only sources know: file names, comments, options, names in JSON.
    """
    found: dict[str, dict[str, Any]] = {}
    for file in files:
        proto = pb.FileDescriptorProto()
        file.CopyToProto(proto)
        for message in proto.message_type:
            _message(message, proto.package, found)
        for enum in proto.enum_type:
            found[f"{proto.package}.{enum.name}"] = _values(enum)
        for service in proto.service:
            found[f"{proto.package}.{service.name}"] = {
                method.name: [
                    method.input_type,
                    method.output_type,
                    method.client_streaming,
                    method.server_streaming,
                ]
                for method in service.method
            }
    return found


def _message(message: pb.DescriptorProto, scope: str, found: dict[str, dict[str, Any]]) -> None:
    name = f"{scope}.{message.name}"
    found[name] = {
        field.name: [
            field.number,
            field.type,
            field.label,
            field.type_name,
            field.proto3_optional,
            message.oneof_decl[field.oneof_index].name if field.HasField("oneof_index") else "",
        ]
        for field in message.field
    }
    for nested in message.nested_type:
        _message(nested, name, found)
    for enum in message.enum_type:
        found[f"{name}.{enum.name}"] = _values(enum)


def _values(enum: pb.EnumDescriptorProto) -> dict[str, Any]:
    return {value.name: value.number for value in enum.value}
