// Our reader and writer of protobuf messages against those of protobuf-es, which know nothing of each other.
import assert from "node:assert/strict";
import { test } from "node:test";
import { BinaryReader, BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import {
  array,
  assert as check,
  bigInt,
  constant,
  integer,
  nat,
  oneof,
  property,
  record,
  string,
  uint8Array,
} from "fast-check";
import { bytesOf, decodeMessage, encodeMessage, mapOf, textOf } from "@culvert/shared/grpc/message.ts";

const number = integer({ min: 1, max: 2 ** 29 - 1 });
const written = oneof(
  record({ kind: constant("varint" as const), number, value: bigInt({ min: 0n, max: 2n ** 64n - 1n }) }),
  record({ kind: constant("bytes" as const), number, value: uint8Array({ maxLength: 300 }) }),
  record({ kind: constant("text" as const), number, value: string({ unit: "binary", maxLength: 100 }) }),
  record({ kind: constant("fixed32" as const), number, value: nat() }),
  record({ kind: constant("fixed64" as const), number, value: bigInt({ min: 0n, max: 2n ** 64n - 1n }) }),
);

type Written = { readonly number: number } & (
  | { readonly kind: "varint" | "fixed64"; readonly value: bigint }
  | { readonly kind: "bytes"; readonly value: Uint8Array }
  | { readonly kind: "text"; readonly value: string }
  | { readonly kind: "fixed32"; readonly value: number }
);

function write(fields: readonly Written[]): Uint8Array {
  const writer = new BinaryWriter();
  for (const field of fields) {
    switch (field.kind) {
      case "varint":
        writer.tag(field.number, WireType.Varint).uint64(field.value);
        break;
      case "bytes":
        writer.tag(field.number, WireType.LengthDelimited).bytes(field.value);
        break;
      case "text":
        writer.tag(field.number, WireType.LengthDelimited).string(field.value);
        break;
      case "fixed32":
        writer.tag(field.number, WireType.Bit32).fixed32(field.value);
        break;
      case "fixed64":
        writer.tag(field.number, WireType.Bit64).fixed64(field.value);
    }
  }
  return writer.finish();
}

/** Field numbers and types of a message as protobuf-es reads it; undefined where it does not. */
function shapeOf(bytes: Uint8Array): readonly string[] | undefined {
  const shape: string[] = [];
  const reader = new BinaryReader(bytes);
  try {
    while (reader.pos < reader.len) {
      const [field, type] = reader.tag();
      reader.skip(type, field);
      if (type === WireType.StartGroup || type === WireType.EndGroup) return undefined;
      shape.push(String(field));
    }
  } catch {
    return undefined;
  }
  return shape;
}

test("what protobuf-es writes is read as it was meant", () => {
  check(
    property(array(written, { maxLength: 30 }), (fields) => {
      const read = decodeMessage(write(fields)) ?? [];
      assert.deepEqual(
        read.map((field) => field.number),
        fields.map((field) => field.number),
      );
      for (const [at, field] of fields.entries()) {
        const value = read[at]?.value;
        if (field.kind === "varint") assert.equal(value, field.value);
        if (field.kind === "bytes") assert.deepEqual(Buffer.from(value as Uint8Array), Buffer.from(field.value));
        if (field.kind === "text")
          assert.equal(
            textOf(read.slice(at, at + 1), field.number),
            new TextDecoder().decode(new TextEncoder().encode(field.value)),
          );
      }
    }),
  );
});

test("what is written here, protobuf-es reads as it was meant", () => {
  check(
    property(
      array(oneof(record({ number, value: nat() }), record({ number, value: uint8Array() })), { maxLength: 30 }),
      (fields) => {
        const reader = new BinaryReader(
          encodeMessage(fields.map(({ number: field, value }) => [field, value] as const)),
        );
        for (const { number: field, value } of fields) {
          const isNumber = typeof value === "number";
          assert.deepEqual(reader.tag(), [field, isNumber ? WireType.Varint : WireType.LengthDelimited]);
          if (isNumber) assert.equal(reader.uint64(), BigInt(value));
          else assert.deepEqual(Buffer.from(reader.bytes()), Buffer.from(value));
        }
        assert.equal(reader.pos, reader.len);
      },
    ),
  );
});

test("a map is read as protobuf-es writes it", () => {
  check(
    property(array(record({ key: string(), value: uint8Array() }), { maxLength: 10 }), (entries) => {
      const writer = new BinaryWriter();
      for (const { key, value } of entries) {
        writer
          .tag(3, WireType.LengthDelimited)
          .fork()
          .tag(1, WireType.LengthDelimited)
          .string(key)
          .tag(2, WireType.LengthDelimited)
          .bytes(value)
          .join();
      }
      const map = mapOf(decodeMessage(writer.finish()) ?? [], 3) ?? new Map<string, Uint8Array>();
      assert.deepEqual(
        [...map].map(([key, value]) => [key, Buffer.from(value).toString("hex")]),
        [...new Map(entries.map(({ key, value }) => [key, Buffer.from(value).toString("hex")]))],
      );
    }),
  );
});

test("cut or changed at any byte: what is read here, protobuf-es reads alike", () => {
  check(
    property(
      array(written, { minLength: 1, maxLength: 10 }),
      nat(),
      integer({ min: 0, max: 255 }),
      (fields, where, byte) => {
        const whole = write(fields);
        const at = where % whole.length;
        const changed = Uint8Array.from(whole);
        changed[at] = byte;
        for (const bytes of [whole.subarray(0, at), changed]) {
          const read = decodeMessage(bytes);
          if (read !== undefined)
            assert.deepEqual(
              read.map((field) => String(field.number)),
              shapeOf(bytes),
            );
          assert.ok(read === undefined || bytesOf(read, 1).every((value) => value.length <= bytes.length));
        }
      },
    ),
  );
});
