import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { freePorts, Processes, untilReady } from '../e2e/processes.ts';
import { startOwnMaster, startRealMaster } from './masters.ts';
import { installWheel } from './wheel.ts';

type Answer = readonly [status: number, body: string];

/** Every call of the REST interface, also those that fail; a mounted segment's id is the node's own. */
async function transcriptOf(url: string): Promise<readonly Answer[]> {
  const answers: Answer[] = [];
  const call = async (method: string, path: string, body?: unknown): Promise<string> => {
    const response = await fetch(`${url}${path}`, {
      method,
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    answers.push([response.status, text.replace(/\d{5,}-\d{5,}/g, 'ID')]);
    return text;
  };
  await call('GET', '/api/exist/tea');
  await call('GET', '/api/get/tea');
  await call('PUT', '/api/put', { key: 'tea', value: 'grün' });
  await call('PUT', '/api/put', { key: 'tea', value: 'again' });
  await call('PUT', '/api/put', { key: 'a/b c', value: 'x'.repeat(100_000) });
  await call('GET', '/api/get/tea');
  await call('GET', '/api/get/a%2Fb%20c');
  await call('GET', '/api/exist/a%2Fb%20c');
  await call('GET', '/api/exist/a/b');
  await call('PUT', '/api/put', { key: 'tea' });
  await call('PUT', '/api/put', { value: 'tea' });
  await call('PUT', '/api/put', { key: 'empty', value: '' });
  await call('DELETE', '/api/remove/nobody');
  await call('POST', '/api/mount', { size: 0 });
  await call('POST', '/api/mount', { size: '1mb' });
  const { segment_ids: ids } = JSON.parse(await call('POST', '/api/mount', { size: 16 << 20 }));
  await call('POST', '/api/unmount', {});
  await call('POST', '/api/unmount', { segment_ids: ids });
  await call('POST', '/api/unmount_local_disk', []);
  await call('POST', '/api/unmount_local_disk', { grace_period_seconds: -1 });
  await call('POST', '/api/put', {});
  await call('GET', '/nothing');
  // What was read or looked at is leased for half a second here.
  await new Promise((resolve) => setTimeout(resolve, 800));
  await call('DELETE', '/api/remove/tea');
  await call('GET', '/api/get/tea');
  await call('DELETE', '/api/remove_all');
  return answers;
}

describe('tsukimi store', () => {
  it.each([
    ['our master', startOwnMaster],
    ['the real master', startRealMaster],
  ])('answers as mooncake_store_service does, on %s', async (_, start) => {
    await using processes = new Processes();
    const master = await start(processes, { flags: ['--default_kv_lease_ttl=500'] });
    const transcripts: (readonly Answer[])[] = [];
    for (const kind of ['real', 'own'] as const) {
      const port = await freePorts(1);
      const config = join(processes.directory, `${kind}.json`);
      writeFileSync(
        config,
        JSON.stringify({
          local_hostname: '127.0.0.1',
          metadata_server: master.metadata,
          master_server_address: master.address,
          global_segment_size: '64mb',
          local_buffer_size: '16mb',
          protocol: 'tcp',
          device_name: '',
        }),
      );
      const flags = ['--config', config, '--port', String(port)];
      const service = [installWheel().python, '-m', 'mooncake.mooncake_store_service'];
      const node =
        kind === 'own'
          ? processes.start(['store', ...flags, '--host', '127.0.0.1'])
          : processes.startCommand('mooncake_store_service', [...service, ...flags], {
              env: { MC_TCP_BIND_ADDRESS: '127.0.0.1', MC_FORCE_TCP: '1' },
            });
      const url = `http://127.0.0.1:${port}`;
      await untilReady(`${url}/api/exist/nobody`, node);
      if (kind === 'own') await untilReady(`${url}/ready`, node);
      transcripts.push(await transcriptOf(url));
      node.child.kill('SIGTERM');
      expect(await node.exited).toEqual([0, null]);
    }
    const [real, own] = transcripts;
    expect(real?.length).toBe(25);
    expect(own).toEqual(real);
  });
});
