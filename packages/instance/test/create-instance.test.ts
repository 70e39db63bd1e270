import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadOptions, runServices, SeededRandom, SystemClock, silentLogger } from '@tsukimi/base';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createInstance, type Instance, serveOptions } from '../src/index.ts';

const model = 'tsukimi-demo-1m';
const connector = ['--kv-transfer-config.kv_connector', 'MooncakeStoreConnector'];

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'tsukimi-instance-'));
});
afterEach(() => rmSync(directory, { recursive: true }));

function create(argv: string[], env: Record<string, string> = {}): Promise<Instance> {
  return createInstance(
    loadOptions(serveOptions, {
      argv: ['--model', model, '--host', '127.0.0.1', '--port', '0', '--threads', '1', ...argv],
      env,
    }),
    {
      clock: new SystemClock(),
      random: new SeededRandom(1),
      logger: silentLogger,
      env,
      version: '0',
    },
  );
}

function nobodysConfig(fields: object = {}): string {
  const path = join(directory, 'mooncake.json');
  const content = {
    local_hostname: '127.0.0.1',
    metadata_server: 'http://127.0.0.1:1/metadata',
    protocol: 'tcp',
    device_name: '',
    master_server_address: '127.0.0.1:1',
    global_segment_size: '4mb',
    ...fields,
  };
  writeFileSync(path, JSON.stringify(content));
  return path;
}

describe('createInstance', () => {
  it.each(['kv_producer', 'kv_consumer'])('serves as %s while nobody else is up', async (role) => {
    const instance = await create([...connector, '--kv-transfer-config.kv_role', role], {
      MOONCAKE_CONFIG_PATH: nobodysConfig(),
    });
    const until = new AbortController();
    const run = runServices(instance.services, {
      until: until.signal,
      stopDeadline: () => new AbortController().signal,
      onReady: () => void ask().finally(() => until.abort()),
    });
    let answers: { choices: { text: string }[] }[] = [];
    let readiness = 0;
    const ask = async () => {
      const url = `http://127.0.0.1:${instance.server.port}`;
      readiness = (await fetch(`${url}/ready`)).status;
      answers = await Promise.all(
        [1, 8].map(async (maxTokens) => {
          const response = await fetch(`${url}/v1/completions`, {
            method: 'POST',
            body: JSON.stringify({ model, prompt: 'Once', max_tokens: maxTokens, temperature: 0 }),
          });
          return (await response.json()) as { choices: { text: string }[] };
        }),
      );
    };
    await run;
    expect(readiness).toBe(200);
    const [one, eight] = answers.map(({ choices }) => choices[0]?.text ?? '');
    expect(one).not.toBe('');
    expect(eight?.startsWith(String(one))).toBe(true);
  });

  it('passes on every notice', async () => {
    const path = nobodysConfig({ protocol: 'rdma' });
    const config =
      '{"kv_connector":"MooncakeStoreConnector","kv_role":"kv_consumer","kv_parallel_size":2}';
    const { notices, services } = await create(
      ['--kv-transfer-config', config, '--dtype', 'half', '--mooncake-config', path],
      { VLLM_USE_V1: '0' },
    );
    for (const service of services) await service.stop(AbortSignal.abort());
    for (const word of ['rdma', 'kv_parallel_size', '--dtype', 'VLLM_USE_V1']) {
      expect(notices.filter((notice) => notice.includes(word)).length, word).toBe(1);
    }
  });

  it.each([
    ['MOONCAKE_CONFIG_PATH', [...connector, '--kv-transfer-config.kv_role', 'kv_both']],
    ['--max-model-len: 999999 exceeds', ['--max-model-len', '999999']],
    ['--gpu-memory-utilization 1e-9', ['--gpu-memory-utilization', '0.000000001']],
    ['--chunk-tokens', ['--chunk-tokens', '100']],
    ['--model', ['--model', 'org/model']],
  ])('refuses to start and says %s', async (words, argv) => {
    await expect(create(argv)).rejects.toThrow(words);
  });
});
