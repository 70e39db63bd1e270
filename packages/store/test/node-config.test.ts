import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadOptions } from '@tsukimi/base';
import { describe, expect, it } from 'vitest';
import { readNodeConfig } from '../src/node/node-config.ts';
import { nodeOptions } from '../src/node/options.ts';

const read = (argv: readonly string[], env: Record<string, string> = {}) =>
  readNodeConfig(loadOptions(nodeOptions, { argv, env }), env);

describe('readNodeConfig', () => {
  it('takes the flags of mooncake_client', () => {
    const config = read([
      ...['--master_server_address=10.0.0.1:50051', '--host=10.0.0.2', '--protocol=tcp'],
      ...['--port=50052', '--global_segment_size=4 GB', '--enable_offload=true', '--threads=4'],
      ...['--metadata_server=P2PHANDSHAKE', '--device_names=eth0', '--local_buffer_size=16MB'],
    ]);
    expect(config).toMatchObject({
      localHostname: '10.0.0.2',
      localPort: null,
      masterAddress: { host: '10.0.0.1', port: 50_051 },
      metadata: { kind: 'p2p' },
      globalSegmentByteCount: 2 ** 32,
      offload: { path: null },
      tenantId: 'default',
    });
  });

  it('takes a file, what is defined over it, and flags over both', () => {
    const directory = mkdtempSync(join(tmpdir(), 'tsukimi-node-'));
    const path = join(directory, 'mooncake.json');
    writeFileSync(
      path,
      JSON.stringify({
        local_hostname: 'a:12345',
        metadata_server: 'http://m:8080/metadata',
        master_server_address: 'm:50051',
        global_segment_size: '1gb',
        tenant_id: 'moon',
      }),
    );
    try {
      expect(read(['--config', path])).toMatchObject({ localHostname: 'a', localPort: 12_345 });
      expect(read([], { MOONCAKE_CONFIG_PATH: path })).toMatchObject({ tenantId: 'moon' });
      const argv = ['--config', path, '-D', 'local_hostname=b', '-Dglobal_segment_size=2gb'];
      expect(read(argv)).toMatchObject({
        localHostname: 'b',
        globalSegmentByteCount: 2 ** 31,
      });
      expect(read([...argv, '--local-hostname', 'c:1'])).toMatchObject({ localHostname: 'c' });
      expect(() => read(['--config', path, '-D', 'protocol'])).toThrow('--define');
    } finally {
      rmSync(directory, { recursive: true });
    }
  });

  it('reads without a file what Mooncake reads in its place', () => {
    const env = { MOONCAKE_MASTER: 'm:50051', MOONCAKE_OFFLOAD_ENABLED: 'true' };
    expect(read([], env)).toMatchObject({
      metadata: { kind: 'p2p' },
      localHostname: 'localhost',
      globalSegmentByteCount: null,
      offload: { path: null },
    });
    expect(() => read([])).toThrow('MOONCAKE_MASTER');
  });
});
