import { loadOptions } from '@tsukimi/base';
import { describe, expect, it } from 'vitest';
import { planCluster } from '../src/up/cluster-plan.ts';
import { upOptions } from '../src/up/options.ts';
import { RestartPolicy, restartDelayMsMax, settledAfterMs } from '../src/up/restart-policy.ts';

const plan = (argv: string[], coreCount = 2) =>
  planCluster(loadOptions(upOptions, { argv, env: {} }), {
    mooncakeConfigPath: '/run/mooncake.json',
    coreCount,
    maxModelLen: 2_048,
  });

describe('planCluster', () => {
  it('gives the master a journal where one is asked for', () => {
    const argsOf = (...argv: string[]) =>
      plan(argv)
        .children.find(({ name }) => name === 'master')
        ?.args.join(' ');
    expect(argsOf('--journal-dir', '/var/journal')).toMatch(/ --journal-dir \/var\/journal$/);
    expect(argsOf()).not.toContain('journal');
  });

  it('starts the guide’s processes with the guide’s ports', () => {
    const { children, mooncakeConfig } = plan([]);
    expect(children.map(({ name, address }) => `${name} ${address.host}:${address.port}`)).toEqual([
      'metadata 127.0.0.1:8080',
      'master 127.0.0.1:50051',
      'prefill-0 127.0.0.1:8100',
      'prefill-1 127.0.0.1:8101',
      'decode-0 127.0.0.1:8200',
      'decode-1 127.0.0.1:8201',
      'proxy 127.0.0.1:8000',
    ]);
    expect(mooncakeConfig).toMatchObject({
      local_hostname: '127.0.0.1',
      metadata_server: 'http://127.0.0.1:8080/metadata',
      protocol: 'tcp',
      master_server_address: '127.0.0.1:50051',
    });
  });

  it('tells the proxy every instance, and prefill from decode', () => {
    const proxy = plan(['--prefill', '1', '--decode', '3', '--port', '9000']).children.at(-1);
    expect(proxy?.args.join(' ')).toContain('--prefill 127.0.0.1:8100 --decode 127.0.0.1:8200');
    expect(proxy?.args.join(' ')).toContain('127.0.0.1:8201 127.0.0.1:8202');
    expect(proxy?.args.join(' ')).toContain('--master-server-address 127.0.0.1:50051');
    expect(proxy?.address.port).toBe(9000);
  });

  it('shares the cores out between the instances', () => {
    const threads = (argv: string[], coreCount: number) => {
      const args = plan(argv, coreCount).children[2]?.args ?? [];
      return args[args.indexOf('--threads') + 1];
    };
    expect(threads([], 2)).toBe('1');
    expect(threads([], 32)).toBe('8');
    expect(threads(['--threads', '3'], 32)).toBe('3');
  });

  it('writes command lines that survive a shell', () => {
    const words = plan([]).children.flatMap(({ args }) => args);
    expect(words.filter((word) => !/^[\w./:-]+$/.test(word))).toEqual([]);
  });
});

describe('RestartPolicy', () => {
  it('waits twice as long after each early death, up to a limit, and forgives a long life', () => {
    const policy = new RestartPolicy();
    const delays = Array.from({ length: 8 }, () => policy.nextDelayMs(50));
    expect(delays.slice(0, 3)).toEqual([200, 400, 800]);
    expect(delays.at(-1)).toBe(restartDelayMsMax);
    expect(policy.nextDelayMs(settledAfterMs)).toBe(200);
  });
});
