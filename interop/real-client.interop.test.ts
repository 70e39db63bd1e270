import { describe, expect, it } from 'vitest';
import { Processes, sized } from '../e2e/processes.ts';
import { type Master, startOwnMaster, startRealMaster } from './masters.ts';
import { startOwnClient } from './own-client.ts';
import { answered, bytes, PythonClient, pattern, patternBytes } from './python-client.ts';
import { writeTranscript } from './transcript.ts';
import { installWheel } from './wheel.ts';

describe('the published Python client', () => {
  it('gets from our master, call by call, what it gets from the real one', async () => {
    await using processes = new Processes();
    const real = await startRealMaster(processes);
    const own = await startOwnMaster(processes);
    const [expected, seen] = await Promise.all([
      writeTranscript(processes, real),
      writeTranscript(processes, own),
    ]);
    expect(expected.length).toBeGreaterThan(60);
    expect(seen).toEqual(expected);
  });

  it.each([
    ['our master', startOwnMaster],
    ['the real master', startRealMaster],
  ])('shares objects with our client, both ways, through %s', async (_, start) => {
    await using processes = new Processes();
    const master: Master = await start(processes);
    const python = new PythonClient(processes, installWheel());
    expect(
      await python.setup({
        ...master,
        master: master.address,
        name: '127.0.0.1:12301',
        segmentByteCount: 128 << 20,
        bufferByteCount: 128 << 20,
      }),
    ).toBe(0);
    await using own = await startOwnClient({
      ...{ name: '127.0.0.1:12302', segmentByteCount: 128 << 20 },
      ...{ metadata: master.metadata, master: master.address },
    });
    const sizes = [1, 100, 4_096, 1_000_003, ...sized({ smoke: [], full: [64 << 20] })];
    for (const size of sizes) {
      expect(await python.store('put', `python-${size}`, pattern(size, size))).toBe(0);
      expect(await own.store.put(`own-${size}`, patternBytes(size + 1, size))).toBe('stored');
    }
    for (const size of sizes) {
      const read = await own.store.get(`python-${size}`, size);
      expect(read?.equals(patternBytes(size, size))).toBe(true);
      expect(await python.store('get', `own-${size}`)).toEqual(
        answered(patternBytes(size + 1, size)),
      );
    }
    expect(await python.store('get', 'nobody')).toEqual(bytes(''));
    expect(await own.store.get('nobody', 10)).toBeNull();
    await python.store('close');
  });
});
