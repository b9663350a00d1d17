// Pure. The service of gRPC's interoperability tests as Protocol Buffers describe it, as far as tests call it, made without generated code.
import { create, createFileRegistry, type DescMethod } from "@bufbuild/protobuf";
import {
  DescriptorProtoSchema,
  FieldDescriptorProto_Label as Label,
  FieldDescriptorProto_Type as Type,
  FieldDescriptorProtoSchema,
  FileDescriptorProtoSchema,
  MethodDescriptorProtoSchema,
  ServiceDescriptorProtoSchema,
  type DescriptorProto,
} from "@bufbuild/protobuf/wkt";

const PACKAGE = "grpc.testing";

/** A field: its number, and a scalar or the name of a message; `true` for a list. */
type Field = readonly [number: number, type: Type | string, repeated?: boolean];

function message(name: string, fields: Readonly<Record<string, Field>>): DescriptorProto {
  return create(DescriptorProtoSchema, {
    name,
    field: Object.entries(fields).map(([field, [number, type, repeated = false]]) =>
      create(FieldDescriptorProtoSchema, {
        name: field,
        number,
        label: repeated ? Label.REPEATED : Label.OPTIONAL,
        ...(typeof type === "string" ? { type: Type.MESSAGE, typeName: `.${PACKAGE}.${type}` } : { type }),
      }),
    ),
  });
}

const file = create(FileDescriptorProtoSchema, {
  name: "test.proto",
  syntax: "proto3",
  package: PACKAGE,
  messageType: [
    message("Payload", { body: [2, Type.BYTES] }),
    message("EchoStatus", { code: [1, Type.INT32], message: [2, Type.STRING] }),
    message("SimpleRequest", { response_size: [2, Type.INT32], response_status: [7, "EchoStatus"] }),
    message("SimpleResponse", { payload: [1, "Payload"] }),
    message("ResponseParameters", { size: [1, Type.INT32], interval_us: [2, Type.INT32] }),
    message("StreamingOutputCallRequest", { response_parameters: [2, "ResponseParameters", true] }),
  ],
  service: [
    create(ServiceDescriptorProtoSchema, {
      name: "TestService",
      method: [
        create(MethodDescriptorProtoSchema, {
          name: "UnaryCall",
          inputType: `.${PACKAGE}.SimpleRequest`,
          outputType: `.${PACKAGE}.SimpleResponse`,
        }),
        create(MethodDescriptorProtoSchema, {
          name: "StreamingOutputCall",
          inputType: `.${PACKAGE}.StreamingOutputCallRequest`,
          outputType: `.${PACKAGE}.SimpleResponse`,
          serverStreaming: true,
        }),
      ],
    }),
  ],
});

const registry = createFileRegistry(file, () => undefined);

/** A method of the service by its name in code: `unaryCall`, `streamingOutputCall`. */
export function testMethod(name: string): DescMethod {
  const method = registry.getService(`${PACKAGE}.TestService`)?.method[name];
  if (method === undefined) throw new Error(`no method ${name}`);
  return method;
}
