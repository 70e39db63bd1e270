import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { chunkHeaderByteCount, findChunkFlaw, sealChunk } from '../src/core/chunk-header.ts';

function sealed(payloadByteCount: number): Buffer {
  const chunk = Buffer.alloc(chunkHeaderByteCount + payloadByteCount, 7);
  sealChunk(chunk, 'some/key', 256);
  return chunk;
}

describe('the chunk header', () => {
  it('accepts what was sealed for the same key and cells', () => {
    expect(findChunkFlaw(sealed(4_096), 'some/key', 256)).toBeNull();
  });

  it('tells another key, another number of cells and another length', () => {
    expect(findChunkFlaw(sealed(4_096), 'another/key', 256)).toBe('key');
    expect(findChunkFlaw(sealed(4_096), 'some/key', 255)).toBe('cells');
    expect(findChunkFlaw(sealed(4_096).subarray(0, 4_000), 'some/key', 256)).toBe('length');
    expect(findChunkFlaw(Buffer.alloc(10), 'some/key', 256)).toBe('header');
  });

  it('finds every flipped bit', () => {
    fc.assert(
      fc.property(fc.nat({ max: (chunkHeaderByteCount + 512) * 8 - 1 }), (bit) => {
        const chunk = sealed(512);
        chunk.writeUInt8(chunk.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
        expect(findChunkFlaw(chunk, 'some/key', 256)).not.toBeNull();
      }),
    );
  });
});
