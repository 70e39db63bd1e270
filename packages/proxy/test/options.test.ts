import { loadOptions } from '@tsukimi/base';
import { describe, expect, it } from 'vitest';
import { proxyOptions } from '../src/index.ts';

const load = (...argv: string[]) => loadOptions(proxyOptions, { argv, env: {} });

describe('the command line', () => {
  it("takes the guide's flags, short and long, and an empty cluster", () => {
    const options = load(
      '-m',
      'demo',
      '-p',
      'localhost:8100',
      'b.example:8101',
      '-d',
      '[::1]:8200',
    );
    expect(options).toMatchObject({
      model: 'demo',
      prefill: [
        { host: 'localhost', port: 8100 },
        { host: 'b.example', port: 8101 },
      ],
      decode: [{ host: '::1', port: 8200 }],
      scheduling: 'prefix_cache',
      port: 8000,
      gapMs: 10_000,
    });
    expect(load('--model', 'demo')).toMatchObject({ prefill: [], decode: [] });
  });

  it('takes how instances hand over beside where they are', () => {
    const list = ['mooncake:8999+a@1-2', 'nixl+https://b', 'p2p_nccl:21001+[::1]:3', 'c:4'];
    expect(load('--model', 'm', '--prefill', ...list).prefill).toEqual([
      { host: 'a', port: 1, pd: { protocol: 'mooncake', bootstrapPort: 8_999 } },
      { host: 'a', port: 2, pd: { protocol: 'mooncake', bootstrapPort: 8_999 } },
      { host: 'b', port: 443, secure: true, pd: { protocol: 'nixl' } },
      { host: '::1', port: 3, pd: { protocol: 'p2p_nccl', kvPort: 21_001 } },
      { host: 'c', port: 4 },
    ]);
  });

  it.each([
    [['--model', 'm', '--prefill', 'magic+h:1'], /--prefill.*no protocol; those are auto/],
    [['--model', 'm', '--prefill', 'p2p_nccl+h:1'], /lacks the ZMQ port/],
    [['--model', 'm', '--prefill', 'nixl:5+h:1'], /gives a port to nixl, which has none/],
    [['--model', 'm', '--prefill', 'sglang:99999+h:1'], /not between 1 and 65535/],
    [['--model', 'm', '--prefill', 'nixl+store+h:1'], /--prefill/],
    [['--model', 'm', '--prefill', 'nohost'], /--prefill: "nohost" is not host:port/],
    [['--model', 'm', '--decode', '999.0.0.1:80'], /--decode.*no usable host/],
    [['--model', 'm', '--scheduling', 'magic'], /--scheduling.*round_robin/],
    [[], /--model: is required/],
  ])('refuses %j with the flag and what is wrong', (argv, message) => {
    expect(() => load(...argv)).toThrow(message);
  });
});
