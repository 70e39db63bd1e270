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
      scheduling: 'least_load',
      port: 8000,
      gapMs: 10_000,
    });
    expect(load('--model', 'demo')).toMatchObject({ prefill: [], decode: [] });
  });

  it.each([
    [['--model', 'm', '--prefill', 'nohost'], /--prefill: "nohost" is not host:port/],
    [['--model', 'm', '--decode', '999.0.0.1:80'], /--decode.*no usable host/],
    [['--model', 'm', '--scheduling', 'magic'], /--scheduling.*round_robin/],
    [[], /--model: is required/],
  ])('refuses %j with the flag and what is wrong', (argv, message) => {
    expect(() => load(...argv)).toThrow(message);
  });
});
