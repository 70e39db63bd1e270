import { loadOptions } from '@tsukimi/base';
import { describe, expect, it } from 'vitest';
import { proxyOptions } from '../src/index.ts';
import { startCluster } from './cluster.ts';

const page = 'https://app.example';
const asked = { model: 'tsukimi-demo', prompt: 'Hi', max_tokens: 2 };

function preflight(url: string, origin: string): Promise<Response> {
  return fetch(`${url}/v1/chat/completions`, {
    method: 'OPTIONS',
    headers: {
      origin,
      'access-control-request-method': 'POST',
      'access-control-request-headers': 'authorization,content-type',
    },
  });
}

describe('a proxy for browser pages', () => {
  it('answers the pages that it was told of, before they ask and after', async () => {
    await using cluster = await startCluster({ argv: ['--allowed-origins', page, 'http://b:1'] });
    const before = await preflight(cluster.url, page);
    expect([before.status, await before.text()]).toEqual([204, '']);
    expect(Object.fromEntries(before.headers)).toMatchObject({
      'access-control-allow-origin': page,
      'access-control-allow-methods': 'POST',
      'access-control-allow-headers': 'authorization,content-type',
      vary: 'origin',
    });
    const answer = await cluster.post(asked, { headers: { origin: page } });
    expect(answer.status).toBe(200);
    expect(answer.headers.get('access-control-allow-origin')).toBe(page);
    const other = await cluster.post(asked, { headers: { origin: 'https://evil.example' } });
    expect(other.headers.get('access-control-allow-origin')).toBeNull();
    expect((await preflight(cluster.url, 'https://evil.example')).status).toBe(405);
  });

  it('answers none by default, and all for a *', async () => {
    await using closed = await startCluster();
    expect(
      (await preflight(closed.url, page)).headers.get('access-control-allow-origin'),
    ).toBeNull();
    await using open = await startCluster({ argv: ['--allowed-origins', '["*"]'] });
    expect((await preflight(open.url, page)).headers.get('access-control-allow-origin')).toBe('*');
    // What is refused must be readable too.
    const refused = await open.post('{nonsense', { headers: { origin: page } });
    expect([refused.status, refused.headers.get('access-control-allow-origin')]).toEqual([
      400,
      '*',
    ]);
  });

  it('refuses what is no origin', () => {
    const argv = ['--model', 'm', '--allowed-origins', 'app.example'];
    expect(() => loadOptions(proxyOptions, { argv, env: {} })).toThrow(
      /--allowed-origins: .*app\.example: not an origin/,
    );
  });
});
