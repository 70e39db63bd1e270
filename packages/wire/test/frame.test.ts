import { describe, expect, it } from 'vitest';
import { RequestParser, ResponseParser } from '../src/index.ts';
import { fuzzCodecs } from './fuzz.ts';
import { framesOf } from './vectors.ts';

const requests = framesOf('request');

describe('RequestParser', () => {
  it('gives the same frames wherever the stream is cut', () => {
    const stream = Buffer.concat(requests.slice(0, 12));
    const whole = new RequestParser(2 ** 20)
      .push(stream)
      .map(({ sequence, body }) => [sequence, body.toString('hex')]);
    expect(whole).toHaveLength(12);
    for (let cut = 0; cut <= stream.length; cut++) {
      const parser = new RequestParser(2 ** 20);
      const frames = [
        ...parser.push(stream.subarray(0, cut)),
        ...parser.push(stream.subarray(cut)),
      ];
      expect(frames.map(({ sequence, body }) => [sequence, body.toString('hex')])).toEqual(whole);
      expect(parser.pendingByteCount).toBe(0);
    }
  });

  it('takes a stream byte by byte', () => {
    const stream = Buffer.concat(requests.slice(0, 5));
    const parser = new RequestParser(2 ** 20);
    const count = [...stream].reduce((sum, byte) => sum + parser.push(Buffer.of(byte)).length, 0);
    expect(count).toBe(5);
  });

  it('refuses another protocol at its first byte, and a frame over the limit at its header', () => {
    expect(() => new RequestParser(100).push(Buffer.from('GET / HTTP/1.1'))).toThrow(
      /not a coro_rpc/,
    );
    expect(() => new RequestParser(100).push(Buffer.of(21, 1))).toThrow(/version/);
    const header = Buffer.alloc(20);
    header[0] = 21;
    header.writeUInt32LE(0xffffffff, 12);
    expect(() => new RequestParser(2 ** 26).push(header)).toThrow(/over the limit/);
  });

  it('drops attachments', () => {
    const header = Buffer.alloc(20);
    header[0] = 21;
    header.writeUInt32LE(1, 12);
    header.writeUInt32LE(2, 16);
    const stream = Buffer.concat([header, Buffer.from('bat'), header, Buffer.from('cat')]);
    const frames = new RequestParser(100).push(stream);
    expect(frames.map(({ body }) => body.toString())).toEqual(['b', 'c']);
  });
});

describe('ResponseParser', () => {
  it('refuses what is no response', () => {
    expect(() => new ResponseParser(100).push(Buffer.from('HTTP/1.1 400'))).toThrow(
      /not a coro_rpc/,
    );
  });
});

describe('spoiled frames', () => {
  it('give a sound value or a clear refusal, never anything else', () => {
    const seed = Number(process.env['FUZZ_SEED'] ?? 20_261_124);
    const frames = Number(process.env['FUZZ_FRAMES'] ?? 100_000);
    const report = fuzzCodecs({ seed, frames });
    console.log(`fuzz: seed ${seed}, ${frames} frames, ${JSON.stringify(report)}`);
    expect(report.read + report.refused + report.unread).toBe(frames);
    // Both ways must be well trodden, or the frames test nothing.
    expect(report.read).toBeGreaterThan(frames / 10);
    expect(report.refused).toBeGreaterThan(frames / 10);
  }, 60_000);
});
