import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SeededRandom } from '@tsukimi/base';
import { afterAll, describe, expect, it } from 'vitest';
import { readTrace, seenBefore, stretched } from '../trace.ts';
import { smallTrace } from './scenes.ts';

const directory = mkdtempSync(join(tmpdir(), 'trace-'));
afterAll(() => rmSync(directory, { recursive: true }));

function written(...lines: string[]): string {
  const path = join(directory, 'sample.jsonl');
  writeFileSync(path, lines.join('\n'));
  return path;
}

const line = (timestamp: number, inputTokens: number, blocks: number[]) =>
  `{"timestamp": ${timestamp}, "input_length": ${inputTokens}, "output_length": 7, "hash_ids": [${blocks.join(', ')}]}`;

describe('readTrace', () => {
  it('reads the published form, by rising time', () => {
    const trace = readTrace(written(line(3_000, 600, [0, 1]), line(0, 512, [0]), ''));
    expect(trace.name).toBe('sample');
    expect(trace.requests).toEqual([
      { atMs: 0, inputTokens: 512, outputTokens: 7, blocks: [0] },
      { atMs: 3_000, inputTokens: 600, outputTokens: 7, blocks: [0, 1] },
    ]);
  });

  it('names the line that is no request, and why', () => {
    expect(() => readTrace(written(line(0, 512, [0]), '{"timestamp": 1'))).toThrow(/line 2/);
    expect(() => readTrace(written(line(0, 513, [0])))).toThrow(
      /line 1: 1 blocks of 512 are not 513/,
    );
    expect(() => readTrace(written('{"timestamp": -1}'))).toThrow(/timestamp/);
    expect(() => readTrace(written(''))).toThrow(/no requests/);
  });
});

describe('seenBefore', () => {
  it('counts blocks, and tokens of blocks that are not whole', () => {
    const trace = readTrace(
      written(line(0, 600, [0, 1]), line(1, 600, [0, 1]), line(2, 600, [0, 2])),
    );
    expect(seenBefore(trace)).toEqual({ blocks: 3 / 6, tokens: (600 + 512) / 1_800 });
  });
});

describe('stretched', () => {
  it('keeps the requests and their order, and spreads those of one timestamp', () => {
    const trace = readTrace(
      written(...[0, 0, 0, 3_000, 3_000, 6_000].map((atMs, at) => line(atMs, 512, [at]))),
    );
    const times = stretched(trace, 900, new SeededRandom(5)).requests.map(({ atMs }) => atMs);
    expect(new Set(times).size).toBe(6);
    expect(times).toEqual(times.toSorted((one, other) => one - other));
    expect(times.slice(0, 3).every((atMs) => atMs >= 0 && atMs < 300)).toBe(true);
    expect(times[5]).toBeGreaterThanOrEqual(600);
    expect(times[5]).toBeLessThan(900);
  });
});

describe('makeTrace', () => {
  it('makes prompts that have their beginnings from those before, the same for a seed', () => {
    const trace = smallTrace(1);
    expect(trace).toEqual(smallTrace(1));
    expect(trace).not.toEqual(smallTrace(2));
    const { blocks } = seenBefore(trace);
    expect(blocks).toBeGreaterThan(0.3);
    expect(blocks).toBeLessThan(0.9);
    for (const request of trace.requests) {
      expect(request.blocks.length).toBe(Math.ceil(request.inputTokens / trace.blockTokens));
    }
  });
});
