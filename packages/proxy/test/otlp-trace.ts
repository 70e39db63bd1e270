/** What a collector reads of a span. */
export interface CollectedSpan {
  readonly service: string;
  readonly name: string;
  readonly traceId: string;
  readonly spanId: string;
  /** Empty for a root. */
  readonly parentId: string;
  readonly kind: number;
  readonly failed: boolean;
  readonly attributes: Readonly<Record<string, string | number | boolean>>;
}

type Field = Buffer | bigint;
type Message = ReadonlyMap<number, readonly Field[]>;

/**
 * The spans of an `ExportTraceServiceRequest`, as opentelemetry-proto 1.x numbers the fields:
 * https://github.com/open-telemetry/opentelemetry-proto/blob/main/opentelemetry/proto/trace/v1/trace.proto
 */
export function spansIn(request: Buffer): CollectedSpan[] {
  return messages(decode(request), 1).flatMap((resourceSpans) => {
    const [resource] = messages(resourceSpans, 1);
    const service = String(attributesOf(resource ?? new Map(), 1)['service.name']);
    return messages(resourceSpans, 2)
      .flatMap((scopeSpans) => messages(scopeSpans, 2))
      .map((span) => ({
        service,
        name: bytes(span, 5).toString(),
        traceId: bytes(span, 1).toString('hex'),
        spanId: bytes(span, 2).toString('hex'),
        parentId: bytes(span, 4).toString('hex'),
        kind: Number(span.get(6)?.[0] ?? 0),
        failed: messages(span, 15).some((status) => status.get(3)?.[0] === 2n),
        attributes: attributesOf(span, 9),
      }));
  });
}

function attributesOf(message: Message, field: number): Record<string, string | number | boolean> {
  return Object.fromEntries(
    messages(message, field).map((pair) => [
      bytes(pair, 1).toString(),
      valueOf(messages(pair, 2)[0] ?? new Map()),
    ]),
  );
}

function valueOf(value: Message): string | number | boolean {
  if (value.has(1)) return bytes(value, 1).toString();
  if (value.has(2)) return value.get(2)?.[0] === 1n;
  if (value.has(3)) return Number(value.get(3)?.[0]);
  return bytes(value, 4).readDoubleLE(0);
}

function messages(message: Message, field: number): Message[] {
  return (message.get(field) ?? []).map((one) => decode(one as Buffer));
}

function bytes(message: Message, field: number): Buffer {
  return (message.get(field)?.[0] as Buffer | undefined) ?? Buffer.alloc(0);
}

/** Any message of protobuf: https://protobuf.dev/programming-guides/encoding/ */
function decode(message: Buffer): Message {
  const fields = new Map<number, Field[]>();
  let at = 0;
  const varint = (): bigint => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = message.readUInt8(at);
      at += 1;
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
  };
  const take = (length: number): Buffer => {
    if (at + length > message.length) throw new RangeError('a field exceeds its message');
    at += length;
    return message.subarray(at - length, at);
  };
  while (at < message.length) {
    const key = Number(varint());
    const wireTypes: Record<number, () => Field> = {
      0: varint,
      1: () => take(8),
      2: () => take(Number(varint())),
      5: () => take(4),
    };
    const read = wireTypes[key & 7];
    if (read === undefined) throw new RangeError(`there is no wire type ${key & 7}`);
    const field = key >>> 3;
    fields.set(field, [...(fields.get(field) ?? []), read()]);
  }
  return fields;
}
