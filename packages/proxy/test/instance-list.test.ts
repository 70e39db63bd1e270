import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { eventually } from '@tsukimi/base/testing';
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

  it.each([
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
    const path = join(mkdtempSync(join(tmpdir(), 'tsukimi-config-')), 'instances.yaml');
    const all = await Promise.all([1, 2, 3].map(() => new ScriptedInstance().start()));
    onTestFinished(async () => void (await Promise.all(all.map((one) => one.kill()))));
    const [first, second, third] = all.map(({ address }) => address);
    const write = (decode: unknown) => writeFileSync(path, JSON.stringify({ decode }));
    write([first]);
    await using cluster = await startCluster({ prefill: [], decode: [], argv: ['--config', path] });
    const { pool } = cluster.proxy;
    const addresses = () => pool.instances.map(({ address }) => address);
    expect(pool.instances.map(({ state }) => state.name)).toEqual(['up']);
    write([second, third]);
    await eventually(() => addresses().join() === [second, third].join(), 'the change');
    write('nonsense');
    await new Promise((resolve) => setTimeout(resolve, 1_200));
    expect(addresses()).toEqual([second, third]);
    write([third]);
    await eventually(() => addresses().join() === third, 'the next change');
    const body = { model: 'tsukimi-demo', prompt: 'a', max_tokens: 1 };
    expect((await cluster.post(body)).status).toBe(200);
  });
});
