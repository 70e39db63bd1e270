/**
 * Mooncake's TCP data plane: requests of 24 bytes (u64 size, u64 address, u8 opcode, 7 bytes of
 * padding that may hold garbage) and, in version 2, answers of 8 bytes. All little-endian. Source:
 * `mooncake-transfer-engine/src/transport/tcp_transport/`.
 */
export const requestByteCount = 24;
export const statusByteCount = 8;

const versionBit = 0x80;
const writeOpcode = 1;
const statusMagic = 0x4d_43_54_56;

export interface DataRequest {
  readonly kind: 'read' | 'write';
  readonly version: 1 | 2;
  readonly address: bigint;
  readonly byteCount: bigint;
}

/** Version 1 confirms no write. */
export function isUnanswered({ kind, version }: DataRequest): boolean {
  return kind === 'write' && version === 1;
}

export const okStatus = formatStatus(0);
export const rejectedStatus = formatStatus(1);

export function formatRequest(request: DataRequest): Buffer {
  const bytes = Buffer.allocUnsafe(requestByteCount);
  bytes.writeBigUInt64LE(request.byteCount, 0);
  bytes.writeBigUInt64LE(request.address, 8);
  const opcode = request.kind === 'write' ? writeOpcode : 0;
  bytes.writeDoubleLE(0, 16);
  bytes[16] = opcode | (request.version === 2 ? versionBit : 0);
  return bytes;
}

/** Every opcode but 1 is a read, as for Mooncake's target. `bytes` holds a whole request. */
export function parseRequest(bytes: Buffer): DataRequest {
  const opcode = bytes.readUInt8(16);
  return {
    kind: (opcode & ~versionBit) === writeOpcode ? 'write' : 'read',
    version: (opcode & versionBit) === 0 ? 1 : 2,
    address: bytes.readBigUInt64LE(8),
    byteCount: bytes.readBigUInt64LE(0),
  };
}

/** Whether a whole request lies at the start of `bytes` and reads. */
export function startsWithRead(bytes: Buffer): boolean {
  return bytes.length >= requestByteCount && ((bytes[16] as number) & ~versionBit) !== writeOpcode;
}

function formatStatus(code: number): Buffer {
  const bytes = Buffer.alloc(statusByteCount);
  bytes.writeUInt32LE(code, 0);
  bytes.writeUInt32LE(statusMagic, 4);
  return bytes;
}

/** The code of a status, 0 for success, null if these 8 bytes are no status. */
export function parseStatus(bytes: Buffer): number | null {
  return bytes.readUInt32LE(4) === statusMagic ? bytes.readUInt32LE(0) : null;
}
