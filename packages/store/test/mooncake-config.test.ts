import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readMooncakeConfig } from '../src/mooncake-config.ts';

const guide = {
  local_hostname: '192.168.0.137',
  metadata_server: 'http://192.168.0.137:8080/metadata',
  protocol: 'tcp',
  device_name: '',
  master_server_address: '192.168.0.137:50001',
};

describe('readMooncakeConfig', () => {
  let directory: string;
  let path: string;

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'tsukimi-config-'));
    path = join(directory, 'mooncake.json');
  });
  afterEach(() => rmSync(directory, { recursive: true }));

  const read = (content: unknown, env: Record<string, string> = {}) => {
    writeFileSync(path, typeof content === 'string' ? content : JSON.stringify(content));
    return readMooncakeConfig(path, env);
  };

  it("reads the guide's five fields", () => {
    const config = read(guide);
    expect(config).toMatchObject({
      localHostname: '192.168.0.137',
      masterAddress: { host: '192.168.0.137', port: 50001 },
      globalSegmentByteCount: null,
      notices: [],
    });
    expect(config.metadata).toEqual({
      kind: 'http',
      url: new URL('http://192.168.0.137:8080/metadata'),
    });
  });

  it.each([
    ['etcd://192.168.0.137:2379,192.168.0.138:2379', 'etcd'],
    ['192.168.0.137:2379', 'etcd'],
    ['redis://192.168.0.137:6379', 'redis'],
    ['P2PHANDSHAKE', 'p2p'],
  ])('takes %s as metadata_server', (server, kind) => {
    expect(read({ ...guide, metadata_server: server }).metadata.kind).toBe(kind);
  });

  it('reads from the environment what Mooncake reads there', () => {
    const env = { MC_METADATA_CLUSTER_ID: 'moon', MC_REDIS_DB_INDEX: '3' };
    const config = read({ ...guide, metadata_server: 'redis://h' }, env);
    expect(config).toMatchObject({ metadataClusterId: 'moon', metadata: { database: 3 } });
    expect(read(guide).metadataClusterId).toBe('');
  });

  it('finds the master through etcd or redis, where several elect a leader', () => {
    const elected = read({ ...guide, master_server_address: 'etcd://a:2379,b:2380' });
    expect(elected.masterAddress).toMatchObject({
      clusterId: 'mooncake_cluster',
      board: {
        kind: 'etcd',
        endpoints: [
          { host: 'a', port: 2379 },
          { host: 'b', port: 2380 },
        ],
      },
    });
    const redis = read(
      { ...guide, master_server_address: 'redis://a' },
      { MC_STORE_CLUSTER_ID: 'c' },
    );
    expect(redis.masterAddress).toMatchObject({ clusterId: 'c', board: { kind: 'redis' } });
  });

  it('takes sizes as numbers and in words', () => {
    expect(read({ ...guide, global_segment_size: '4gb' }).globalSegmentByteCount).toBe(2 ** 32);
    expect(read({ ...guide, global_segment_size: 0 }).globalSegmentByteCount).toBe(0);
  });

  it('says in one line each what means something else here', () => {
    const { notices, localHostname, localPort } = read({
      ...guide,
      local_hostname: 'node-a:12345',
      protocol: 'rdma',
      device_name: 'mlx5_0',
      local_buffer_size: '1gb',
      colour: 'blue',
    });
    expect([localHostname, localPort]).toEqual(['node-a', 12345]);
    for (const field of ['rdma', 'device_name', 'local_buffer_size', 'colour']) {
      expect(notices.filter((notice) => notice.includes(field)).length, field).toBe(1);
    }
  });

  it.each([
    ['metadata_server', 'etcd://127.0.0.1:99999'],
    ['metadata_server', 'redis://127.0.0.1:6379/many'],
    ['metadata_server', 'carrier://127.0.0.1'],
    ['metadata_server', undefined],
    ['master_server_address', 'k8s://namespace'],
    ['master_server_address', 'somewhere'],
    ['master_server_address', 50051],
    ['master_server_address', 'etcd://'],
    ['local_hostname', ''],
    ['local_hostname', 'node-a:99999'],
    ['local_hostname', 'node-a:0'],
    ['protocol', 'carrier-pigeon'],
    ['global_segment_size', 'plenty'],
    ['global_segment_size', -1],
  ])('names path and field when %s is %j', (field, value) => {
    const attempt = () => read({ ...guide, [field]: value });
    expect(attempt).toThrow(path);
    expect(attempt).toThrow(`mooncake.json: ${field}: `);
  });

  it.each([
    { ...guide, master_server_address: 'mysql://u:secret@h:1' },
    { ...guide, master_server_address: 'u:secret@h:1' },
    { ...guide, metadata_server: 'redis://u:very@secret@h/many' },
    '{"metadata_server": secret}',
  ])('shows no password when it refuses %j', (content) => {
    const attempt = () => read(content);
    expect(attempt).toThrow(path);
    expect(attempt).not.toThrow(/secr/);
  });

  it('names the path when the file is missing, not JSON or not an object', () => {
    expect(() => readMooncakeConfig(join(directory, 'none.json'), {})).toThrow(
      /none\.json.*ENOENT/,
    );
    expect(() => read('{"local')).toThrow(/mooncake\.json: is not JSON/);
    expect(() => read([])).toThrow(path);
  });
});
