import { FakeClock } from '@tsukimi/base/testing';
import { MemoryMetadataStore } from '@tsukimi/metadata/testing';
import { describe, expect, it } from 'vitest';
import { MetadataPeerSource } from '../src/peer-source.ts';

const descriptor = { name: 'h:1', protocol: 'tcp', tcp_data_port: 1 };

describe('MetadataPeerSource', () => {
  async function source() {
    const [metadata, clock] = [new MemoryMetadataStore(), new FakeClock()];
    await metadata.put('mooncake/moon/ram/h:1', descriptor);
    const pass = async (ms: number) => {
      for (let at = 0; at < ms; at += 100) {
        clock.advance(100);
        await new Promise((resolve) => setImmediate(resolve));
      }
    };
    const ask = (signal = new AbortController().signal) =>
      new MetadataPeerSource(metadata, 'moon', clock).describe('h:1', signal);
    return { metadata, pass, ask };
  }

  it('waits for a server that is away for a moment', async () => {
    const { metadata, pass, ask } = await source();
    metadata.down = true;
    const asked = ask();
    await pass(2_500);
    metadata.down = false;
    await pass(100);
    expect(await asked).toMatchObject({ name: 'h:1' });
  });

  it('gives up when it stays away, when the caller does, and at once on an unknown peer', async () => {
    const { metadata, pass, ask } = await source();
    metadata.down = true;
    const asked = ask();
    const leaving = new AbortController();
    const left = ask(leaving.signal);
    leaving.abort();
    const outcomes = Promise.allSettled([asked, left]);
    await pass(3_000);
    const unreachable = { status: 'rejected', reason: { code: 'PEER_UNREACHABLE' } };
    expect(await outcomes).toMatchObject([unreachable, unreachable]);
    metadata.down = false;
    await metadata.remove('mooncake/moon/ram/h:1');
    await expect(ask()).rejects.toMatchObject({ code: 'PEER_UNREACHABLE' });
  });
});
