import { describe, expect, it } from 'vitest';
import { encodeSse, SseSplitter, sseData, sseDone } from '../src/sse.ts';

const stream = Buffer.from(
  `${encodeSse({ text: 'é 月' })}: a comment\n\ndata: one\r\ndata: two\r\n\r\nevent: x\nid: 7\n\n\n${sseDone}`,
);
const payloads = ['{"text":"é 月"}', null, 'one\ntwo', null, null, '[DONE]'];

describe('SseSplitter', () => {
  it('finds the same frames wherever the bytes are cut in two', () => {
    for (let cut = 0; cut <= stream.length; cut += 1) {
      const splitter = new SseSplitter();
      const frames = [
        ...splitter.push(stream.subarray(0, cut)),
        ...splitter.push(stream.subarray(cut)),
      ];
      expect(frames.map(sseData), `cut at ${cut}`).toEqual(payloads);
      expect(Buffer.concat(frames)).toEqual(stream);
      expect(splitter.rest.length).toBe(0);
    }
  });

  it('finds the same frames byte by byte, from memory that is reused', () => {
    const splitter = new SseSplitter();
    const memory = Buffer.alloc(1);
    const found: (string | null)[] = [];
    for (const byte of stream) {
      memory[0] = byte;
      for (const frame of splitter.push(memory)) found.push(sseData(Buffer.from(frame)));
    }
    expect(found).toEqual(payloads);
  });

  it('keeps what has not ended, and refuses to keep it without bound', () => {
    const splitter = new SseSplitter({ frameByteCountMax: 16 });
    expect(splitter.push(Buffer.from('data: 0123'))).toEqual([]);
    expect(splitter.rest.toString()).toBe('data: 0123');
    expect(() => splitter.push(Buffer.from('4567890'))).toThrow(/exceeds 16 bytes/);
  });
});
