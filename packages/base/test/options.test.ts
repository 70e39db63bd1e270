import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { describeOptions, loadOptions, optionTypes } from '../src/index.ts';

const options = {
  leaseTtlMs: { schema: z.coerce.number().int().positive().default(5_000), doc: 'Lease length.' },
  port: { schema: optionTypes.port.default(8000), doc: 'Port.', aliases: ['p', 'rpc_port'] },
  prefill: { schema: z.array(z.string()).default([]), doc: 'Instances.', kind: 'list' },
  enableGc: { schema: optionTypes.flag, doc: 'Old flag.', kind: 'flag' },
  sharedMemory: { schema: optionTypes.flag.default(true), doc: 'Shared memory.', kind: 'flag' },
  tensorParallelSize: {
    schema: z.coerce.number().int().default(1),
    doc: 'Ranks.',
    aliases: ['tp'],
  },
  apiKey: { schema: z.string().optional(), doc: 'Key.', env: 'API_KEY' },
} as const;

const load = (argv: string[], env: Record<string, string> = {}) =>
  loadOptions(options, { argv, env });

describe('loadOptions', () => {
  it('gives defaults when nothing is said', () => {
    expect(load([])).toMatchObject({
      leaseTtlMs: 5_000,
      port: 8000,
      prefill: [],
      enableGc: false,
      sharedMemory: true,
      apiKey: undefined,
    });
  });

  it('takes dashes, underscores, gflags and short spellings alike', () => {
    for (const argv of [
      ['--lease-ttl-ms', '7', '--port', '9'],
      ['--lease_ttl_ms=7', '-p', '9'],
      ['-lease_ttl_ms', '7', '--rpc_port=9'],
      ['-lease_ttl_ms=7', '--rpc-port', '9'],
    ]) {
      expect(load(argv)).toMatchObject({ leaseTtlMs: 7, port: 9 });
    }
    expect(load(['-tp', '2']).tensorParallelSize).toBe(2);
  });

  it('reads lists up to the next option', () => {
    const values = load(['--prefill', 'a:1', 'b:2', '--port', '9', '--prefill=c:3']);
    expect(values.prefill).toEqual(['a:1', 'b:2', 'c:3']);
    expect(values.port).toBe(9);
  });

  it('switches flags on and off in every spelling', () => {
    expect(load(['--enable_gc']).enableGc).toBe(true);
    expect(load(['--enable-gc=false']).enableGc).toBe(false);
    expect(load(['--noenable_gc']).enableGc).toBe(false);
    expect(load(['--no-shared-memory']).sharedMemory).toBe(false);
  });

  it('prefers the flag to the environment', () => {
    expect(load([], { API_KEY: 'from-env' }).apiKey).toBe('from-env');
    expect(load(['--api-key', 'from-flag'], { API_KEY: 'from-env' }).apiKey).toBe('from-flag');
  });

  it('reads a configuration file for what the command line does not say', () => {
    const withFile = {
      ...options,
      configPath: { schema: z.string().optional(), doc: 'File.', isConfigFile: true },
    } as const;
    const files: Record<string, string> = {
      yaml: 'rpc_port: 12\nlease_ttl_ms: 34 # ms\nenable_gc: true\nshared-memory: false\napi_key: ""\n',
      json: '{"port": 12, "lease_ttl_ms": "34", "enable_gc": true, "shared_memory": false}',
      empty: '',
      'unknown.yaml': 'prot: 1',
      'wrong.yaml': 'port: high',
      'nested.yaml': 'port: [1, 2]',
      'list.yaml': '- 1',
      'broken.yaml': 'port: "12',
    };
    const read = (path: string, ...argv: string[]) =>
      loadOptions(withFile, {
        argv: [`--config_path=${path}`, ...argv],
        env: {},
        readFile: (name) => {
          const text = files[name];
          if (text === undefined) throw new Error('no such file');
          return text;
        },
      });
    for (const path of ['yaml', 'json']) {
      const values = read(path, '--lease-ttl-ms=5');
      expect(values).toMatchObject({ port: 12, leaseTtlMs: 5, enableGc: true, apiKey: undefined });
      expect(values.sharedMemory).toBe(false);
      expect(read(path).leaseTtlMs).toBe(34);
    }
    expect(read('empty').port).toBe(8000);
    expect(read('').port).toBe(8000);
    expect(() => read('unknown.yaml')).toThrow('--config-path: unknown.yaml: prot: unknown option');
    expect(() => read('wrong.yaml')).toThrow('wrong.yaml: port: "high"');
    expect(() => read('nested.yaml')).toThrow('port: one value is needed');
    expect(() => read('list.yaml')).toThrow('names and values');
    expect(() => read('broken.yaml')).toThrow('--config-path: broken.yaml: ');
    expect(() => read('nowhere')).toThrow('--config-path: nowhere: no such file');
  });

  it('reports every problem at once, by the name of the flag', () => {
    expect(() => load(['--port', '99999', '--lease-ttl-ms', 'soon'])).toThrow(
      /--lease-ttl-ms: "soon"[^]*--port: "99999"/,
    );
  });

  it('refuses what it does not know', () => {
    expect(() => load(['--prot', '1'])).toThrow(/--prot: unknown option/);
    expect(() => load(['stray'])).toThrow(/stray/);
  });
});

describe('describeOptions', () => {
  it('names each option with its spellings and default', () => {
    const text = describeOptions(options);
    expect(text).toMatch(/--port, -p, --rpc_port V +Port\. Default: 8000\./);
    expect(text).toMatch(/--enable-gc +Old flag\.\n/);
  });

  it('gives those without effect no line of their own', () => {
    const ignored = { schema: z.string().optional(), doc: '', hasNoEffect: true } as const;
    const text = describeOptions({ maxThreads: ignored, v: ignored, port: options.port });
    expect(text).toMatch(/^ {2}--port[^\n]+\n\nAccepted without effect: --max-threads -v$/);
  });
});
