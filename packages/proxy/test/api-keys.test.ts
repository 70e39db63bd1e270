import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { startCluster } from './cluster.ts';

const asked = { model: 'tsukimi-demo', prompt: 'Hi', max_tokens: 2 };
const bearer = (key: string) => ({ headers: { authorization: `Bearer ${key}` } });
const sha256 = (text: string) => createHash('sha256').update(text).digest('hex');

function keysFile() {
  const directory = mkdtempSync(join(tmpdir(), 'tsukimi-keys-'));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  const path = join(directory, 'keys.yaml');
  const write = (keys: object[]) => writeFileSync(path, JSON.stringify({ keys }));
  return { path, write };
}

describe('a proxy with API keys', () => {
  it('lets in who has one, in OpenAI’s and Anthropic’s header, and tells instances nothing of it', async () => {
    await using cluster = await startCluster({
      argv: ['--api-key', 'sk-1', 'sk-2'],
      env: { OPENAI_API_KEY: 'for-instances' },
    });
    const refused = [{}, bearer('sk-3'), bearer(''), { headers: { authorization: 'Basic sk-1' } }];
    for (const options of refused) {
      const response = await cluster.post(asked, options);
      expect([response.status, await response.json()]).toMatchObject([
        401,
        { error: { code: 'invalid_api_key' } },
      ]);
    }
    expect((await fetch(`${cluster.url}/v1/models`)).status).toBe(401);
    expect((await fetch(`${cluster.url}/v1/models`, bearer('sk-1'))).status).toBe(200);
    expect(cluster.sent('prefill')).toEqual([]);
    for (const options of [bearer('sk-1'), { headers: { 'x-api-key': 'sk-2' } }]) {
      expect((await cluster.post(asked, options)).status).toBe(200);
    }
    const credentials = [...cluster.sent('prefill'), ...cluster.sent('decode')].map(
      ({ headers }) => [headers.authorization, headers['x-api-key']],
    );
    expect(credentials).toEqual(
      Array.from({ length: 4 }, () => ['Bearer for-instances', undefined]),
    );
  });

  it('holds a key to its limits, and says when to come back', async () => {
    const file = keysFile();
    file.write([
      { name: 'slow', sha256: sha256('sk-slow'), requests_per_minute: 2 },
      { name: 'single', sha256: sha256('sk-single'), max_concurrent_requests: 1 },
    ]);
    await using cluster = await startCluster({ argv: ['--api-keys-file', file.path] });
    const slow = [];
    for (let at = 0; at < 3; at += 1) slow.push(await cluster.post(asked, bearer('sk-slow')));
    expect(slow.map(({ status }) => status)).toEqual([200, 200, 429]);
    expect(slow.map(({ headers }) => headers.get('x-ratelimit-remaining-requests'))).toEqual([
      '1',
      '0',
      null,
    ]);
    expect(Number(slow[2]?.headers.get('retry-after'))).toBeGreaterThan(20);
    expect(await slow[2]?.json()).toMatchObject({
      error: { type: 'rate_limit_error', code: 'rate_limit_exceeded' },
    });

    const [decode] = cluster.decode;
    if (decode === undefined) throw new Error('a decode instance');
    decode.fate = () => ({ kind: 'hang' });
    const leaving = new AbortController();
    const hanging = cluster.post(asked, { ...bearer('sk-single'), signal: leaving.signal });
    await expect.poll(() => cluster.sent('decode').length).toBe(3);
    expect((await cluster.post(asked, bearer('sk-single'))).status).toBe(429);
    leaving.abort();
    await expect(hanging).rejects.toThrow();
    decode.fate = () => ({ kind: 'serve' });
    await expect
      .poll(async () => (await cluster.post(asked, bearer('sk-single'))).status)
      .toBe(200);
  });

  it('follows its file, and keeps what it had while the file is wrong', async () => {
    const file = keysFile();
    file.write([{ name: 'a', sha256: sha256('sk-a') }]);
    await using cluster = await startCluster({ argv: ['--api-keys-file', file.path] });
    const status = async (key: string) => (await cluster.post(asked, bearer(key))).status;
    expect([await status('sk-a'), await status('sk-b')]).toEqual([200, 401]);
    writeFileSync(file.path, 'keys: [{ name: b');
    file.write([{ name: 'b', sha256: sha256('sk-b') }]);
    await expect.poll(() => status('sk-b'), { timeout: 5_000 }).toBe(200);
    expect(await status('sk-a')).toBe(401);
    file.write([]);
    await expect.poll(() => status('sk-b'), { timeout: 5_000 }).toBe(401);
  });
});
