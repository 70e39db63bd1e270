import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { silentLogger } from '@tsukimi/base';
import { eventually, FakeClock } from '@tsukimi/base/testing';
import { describe, expect, it, onTestFinished } from 'vitest';
import { instancesIn } from '../src/membership/instance-list.ts';
import { ScriptedInstance } from '../src/testing.ts';
import { startCluster } from './cluster.ts';

describe('a file of instances', () => {
  it('is YAML or JSON, with endpoints as the flags take them', () => {
    const told = instancesIn('prefill:\n- a:1\n- nixl+b@8100-8101\ndecode: ["http://c:2"]\n', 'f');
    expect(told.map(({ kind, endpoint }) => [kind, endpoint.host, endpoint.port])).toEqual([
      ['prefill', 'a', 1],
      ['prefill', 'b', 8_100],
      ['prefill', 'b', 8_101],
      ['decode', 'c', 2],
    ]);
    expect(told[1]?.endpoint.pd).toEqual({ protocol: 'nixl' });
    expect(instancesIn('{"decode":["a:1"]}', 'f')).toHaveLength(1);
    expect(instancesIn('{}', 'f')).toEqual([]);
  });

  it('may say of an instance what the call that adds one takes', () => {
    const written = `
prefill:
  - instance: a@8100-8101
    pd_protocol: nixl_push
    kv_port: 5600
    engine_id: e
    tp_size: 2
decode:
  - { instance: "b:1" }
`;
    const told = instancesIn(written, 'f');
    expect(told.map(({ endpoint: { port } }) => port)).toEqual([8_100, 8_101, 1]);
    const pd = { protocol: 'nixl_push', kvPort: 5_600, engineId: 'e', tensorParallelSize: 2 };
    expect(told[1]?.endpoint.pd).toMatchObject(pd);
    expect(told[2]?.endpoint.pd).toBeUndefined();
  });

  it.each([
    ['prefill: [{ pd_protocol: nixl }]', /f: prefill\.0/],
    ['prefill: [{ instance: "a:1", port: 2 }]', /f: prefill\.0\.port: is none of instance, pd_/],
    ['prefill: [{ instance: "a:1", kv_port: 0 }]', /f: prefill\.0\.kv_port: /],
    ['prefill: [{ instance: "a" }]', /f: prefill\.0\.instance: /],
    ['prefill: a:1', /f: prefill: /],
    ['prefill: ["a"]', /f: prefill\.0: /],
    ['prefil: []', /prefil/],
    ['decode: ["a:1", "a:1"]', /decode: a:1 is there twice/],
    ['{', /^f: /],
    ['', /f: is empty/],
  ])('that says %s is refused with the field', (text, message) => {
    expect(() => instancesIn(text, 'f')).toThrow(message);
  });

  it('is followed: who is new joins, who is gone drains, and a bad one changes nothing', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'tsukimi-config-'));
    onTestFinished(() => rmSync(directory, { recursive: true }));
    const path = join(directory, 'instances.yaml');
    const all = await Promise.all([1, 2, 3].map(() => new ScriptedInstance().start()));
    onTestFinished(async () => void (await Promise.all(all.map((one) => one.kill()))));
    const [first, second, third] = all.map(({ address }) => address);
    const write = (decode: unknown) => writeFileSync(path, JSON.stringify({ decode }));
    write([first]);
    const clock = new FakeClock();
    const flaws: string[] = [];
    await using cluster = await startCluster({
      prefill: [],
      decode: [],
      argv: ['--config', path, '--probe-ms', '1000000'],
      clock,
      logger: { ...silentLogger, error: (event) => void flaws.push(event) },
    });
    const { pool } = cluster.proxy;
    const addresses = () => pool.instances.map(({ address }) => address);
    const untilLooked = (check: () => boolean, what: string) =>
      eventually(() => {
        clock.advance(1_000);
        return check();
      }, what);
    expect(pool.instances.map(({ state }) => state.name)).toEqual(['up']);
    write([second, third]);
    await untilLooked(() => addresses().join() === [second, third].join(), 'the change');
    write('nonsense');
    await untilLooked(() => flaws.includes('proxy.instances_unusable'), 'the flaw');
    expect(addresses()).toEqual([second, third]);
    write([third]);
    await untilLooked(() => addresses().join() === third, 'the next change');
    await eventually(() => pool.up('decode').length === 1, 'the one that is left');
    const body = { model: 'tsukimi-demo', prompt: 'a', max_tokens: 1 };
    expect((await cluster.post(body)).status).toBe(200);
  });
});
