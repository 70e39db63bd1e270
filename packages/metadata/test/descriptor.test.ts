import { Fault } from '@tsukimi/base';
import { describe, expect, it } from 'vitest';
import {
  formatRpcMeta,
  formatSegmentDescriptor,
  type JsonValue,
  parseJson,
  parseRpcMeta,
  parseSegmentDescriptor,
  rpcMetaKey,
  segmentKey,
  sortedJson,
} from '../src/index.ts';

const recorded =
  '{"buffers":[{"addr":140580839452736,"length":16777216,"name":"127.0.0.1:17001"},' +
  '{"addr":140580638162944,"length":67108864,"name":"127.0.0.1:17001"}],"name":"127.0.0.1:17001",' +
  '"protocol":"tcp","tcp_data_port":16199,"tcp_proto_version":2,"timestamp":"2026-11-22 11:51:07.989306"}';

describe('metadata keys', () => {
  it('are those of Mooncake', () => {
    expect(segmentKey('127.0.0.1:17001')).toBe('mooncake/ram/127.0.0.1:17001');
    expect(segmentKey('a/b')).toBe('mooncake/a/b');
    expect(segmentKey('/h:1')).toBe('mooncake/ram/h:1');
    expect(rpcMetaKey('127.0.0.1:17001')).toBe('mooncake/rpc_meta/127.0.0.1:17001');
    expect(segmentKey('h:1', 'blue')).toBe('mooncake/blue/ram/h:1');
    expect(rpcMetaKey('h:1', 'blue/')).toBe('mooncake/blue/rpc_meta/h:1');
  });
});

describe('segment descriptor', () => {
  it('writes the recorded bytes of what it read from them', () => {
    const descriptor = parseSegmentDescriptor(parseJson(recorded, 'peer'), 'peer');
    expect(descriptor.buffers[0]?.address).toBe(140580839452736n);
    expect(descriptor.tcpDataHost).toBeNull();
    expect(sortedJson(formatSegmentDescriptor(descriptor))).toBe(recorded);
  });

  it('keeps the fields of newer releases and of ours', () => {
    const value = {
      ...(parseJson(recorded, 'peer') as object),
      tcp_data_host: 'h',
      rdma_server_name: '',
      metadata_version: 1_764_000_000_000_001,
      tsukimi_shm: {
        host: 'b:1',
        buffers: [{ addr: 1n, length: 2, path: '/dev/shm/x', inode: 3 }],
      },
    } as JsonValue;
    const { tcpDataHost, sharedMemory } = parseSegmentDescriptor(value, 'peer');
    expect(tcpDataHost).toBe('h');
    expect(sharedMemory?.buffers).toEqual([
      { address: 1n, byteCount: 2, path: '/dev/shm/x', inode: 3 },
    ]);
  });

  it('is unusable with one invalid buffer, but not for a broken hint of ours', () => {
    const good = parseJson(recorded, 'peer') as Record<string, JsonValue>;
    for (const buffer of [
      { name: '', addr: 1, length: 1 },
      { name: 'x', addr: 0, length: 1 },
      { name: 'x', addr: 1, length: 0 },
      { name: 'x', addr: 2n ** 64n, length: 1 },
    ]) {
      expect(() => parseSegmentDescriptor({ ...good, buffers: [buffer] }, 'peer')).toThrow(
        expect.objectContaining({ code: 'MALFORMED' }),
      );
    }
    expect(parseSegmentDescriptor({ ...good, tsukimi_shm: 7 }, 'peer').sharedMemory).toBeNull();
  });

  it('reads absent fields as old writers meant them', () => {
    const { tcpDataPort, tcpProtoVersion } = parseSegmentDescriptor(
      { name: 'x', protocol: 'tcp', buffers: [] },
      'peer',
    );
    expect([tcpDataPort, tcpProtoVersion]).toEqual([0, 1]);
  });
});

describe('rpc_meta', () => {
  it('has the recorded form', () => {
    const text = '{"ip_or_host_name":"127.0.0.1","rpc_port":15895}';
    const meta = parseRpcMeta(parseJson(text, 'peer'), 'peer');
    expect(meta).toEqual({ host: '127.0.0.1', rpcPort: 15895 });
    expect(sortedJson(formatRpcMeta(meta))).toBe(text);
    expect(() => parseRpcMeta({ rpc_port: 70_000, ip_or_host_name: 'h' }, 'peer')).toThrow(Fault);
  });
});

describe('JSON', () => {
  it('keeps all 64 bits of an integer and leaves digits in strings alone', () => {
    const text = '{"a":18446744073709551615,"b":"18446744073709551615","c":[1,2.5,-1e30]}';
    const value = parseJson(text, 'peer') as Record<string, JsonValue>;
    expect(value['a']).toBe(18446744073709551615n);
    expect(value['b']).toBe('18446744073709551615');
    expect(sortedJson(value)).toBe(text.replace('-1e30', '-1e+30'));
  });

  it('refuses what is no JSON', () => {
    for (const text of ['', '{', '"\uE0001"', 'nul']) {
      expect(() => parseJson(text, 'peer')).toThrow(expect.objectContaining({ code: 'MALFORMED' }));
    }
  });
});
