import { Fault } from '@tsukimi/base';
import { describe, expect, it } from 'vitest';
import {
  ByteReader,
  ByteWriter,
  decodeArgs,
  decodeMessage,
  ErrorCode,
  encodeArgs,
  encodeMessage,
  type GetReplicaListResponse,
  type MasterProtocol,
  type MasterRelease,
  masterProtocol,
  masterReleases,
  type Protocol,
  parseRelease,
  protocolOf,
  ReplicaStatus,
  ReplicaType,
  type ReplicateConfig,
  SoftPinAction,
  type Uuid,
  unsupportedCalls,
} from '../src/index.ts';
import { literalsOf0312, typeCodesByRelease } from './vectors.ts';

type Codes = Record<string, readonly [request: number | null, response: number]>;

function codesOf(release: MasterRelease): Codes {
  return Object.fromEntries(
    Object.entries(protocolOf(release) as Protocol).map(([name, { request, response }]) => [
      name,
      [request?.code ?? null, response.code],
    ]),
  );
}

/** What the original's headers gave, in one of the columns of the vectors. */
function codesIn(column: string): Codes {
  return Object.fromEntries(
    Object.entries(typeCodesByRelease).flatMap(([name, byRelease]) => {
      const row = byRelease[column];
      return row === undefined ? [] : [[name, [row.request, row.response]]];
    }),
  );
}

const columns: readonly (readonly [string, MasterRelease])[] = [
  ['v0.3.9', '0.3.9'],
  ['v0.3.10', '0.3.10'],
  ['v0.3.10.post2', '0.3.10.post2'],
  ['v0.3.11', '0.3.11'],
  ['v0.3.12.post1', '0.3.12'],
  ['main-2026-08-22', '0.3.13'],
];

describe('the layouts of a release', () => {
  it.each(columns)('have the calls and type codes of %s', (column, release) => {
    expect(Object.keys(codesIn(column)).length).toBeGreaterThan(30);
    expect(codesOf(release)).toEqual(codesIn(column));
  });

  it('of 0.3.12 have one call more than before its post1', () => {
    const { PollRemoveAll: _, ...others } = codesOf('0.3.12');
    expect(others).toEqual(codesIn('v0.3.12'));
  });

  it('spell the type literals of 0.3.12.post1', () => {
    const ours = Object.entries(protocolOf('0.3.12') as Protocol)
      .filter(([name]) => name in literalsOf0312)
      .map(([name, { request, response }]) => [
        name,
        {
          request: request === null ? null : request.literal.toString('hex'),
          response: response.literal.toString('hex'),
        },
      ]);
    expect(ours.length).toBe(60);
    expect(Object.fromEntries(ours)).toEqual(literalsOf0312);
  });

  it('of 0.3.14 are those of 0.3.13 but for what its wheel was seen to send', () => {
    const before = codesOf('0.3.13');
    const changed = Object.entries(protocolOf('0.3.14') as Protocol)
      .filter(([name, { request }]) => before[name]?.[0] !== (request?.code ?? null))
      .map(([name, { functionId, request, response }]) => [
        name,
        functionId.toString(16),
        request?.literal.toString('hex'),
        request?.code.toString(16),
        response.code.toString(16),
      ]);
    expect(changed).toEqual([
      ['BatchReplicaClear', '137b01fc', 'fd84800cfd04048989ff800c800cff', 'fa9abb1a', 'e108bdea'],
      ['ProbeKey', 'd2180da3', 'fd800c800cff', '7cf91ed8', '90e800d2'],
      ['BatchProbeKey', 'b7fb502f', 'fdfd06048989ff84800c800cff', 'b75a4d44', '2a5f8c5c'],
      ['GetReplicaListForAdmin', '6b6674f3', 'fd800c800cff', '7cf91ed8', '88c6276c'],
      [
        'BatchGetReplicaListForAdmin',
        'e750ff12',
        'fd84800c800cff',
        '00f78d62'.replace(/^0+/, ''),
        '20c5453a',
      ],
      ['RegisterPrefetchTask', '126ae007', 'fdfd04048989ff800c800cff', '6a2101f4', 'af2868cc'],
    ]);
    expect([...unsupportedCalls.keys()].map((id) => id.toString(16)).toSorted()).toEqual(
      [
        ...['20f9ede8', 'dee33c59', '9630acc5', '48c3d9a4', 'f9733f46', '32596b92'],
        ...['a0cdae45', 'edbe421c', '9a90ad59', 'b9131698', '5f0843de', 'a9d30e49'],
      ].toSorted(),
    );
  });
});

describe('parseRelease', () => {
  it('knows releases with their posts, and no others', () => {
    const known = [
      '0.3.9',
      '0.3.10.post1',
      '0.3.10.post2',
      '0.3.12.post1',
      '0.3.13.post2',
      '0.3.14',
    ];
    expect(known.map(parseRelease)).toEqual([
      ...['0.3.9', '0.3.10', '0.3.10.post2', '0.3.12', '0.3.13', '0.3.14'],
    ]);
    expect(['0.3.8', '0.3.15', '0.3.9.post1', '0.3', '', '0.3.12.rc1'].map(parseRelease)).toEqual(
      Array.from({ length: 6 }, () => null),
    );
  });
});

const client = '3-4' as Uuid;

const config: ReplicateConfig = {
  replicaNum: 2,
  nofReplicaNum: 1,
  dfsReplicaNum: 1,
  softPinAction: SoftPinAction.ENABLE,
  softPinTtlMs: 5_000,
  withHardPin: true,
  preferredSegments: ['a:1'],
  preferredSegment: 'b:2',
  preferredNofSegments: ['c:3'],
  preferAllocInSameNode: true,
  dataType: 1,
  hostId: 'host',
  groupIds: ['g'],
};

/** What a peer of our values reads of arguments that were written for `release`. */
function argsThrough(release: MasterRelease, name: keyof MasterProtocol, args: readonly unknown[]) {
  const method = (protocolOf(release) as Protocol)[name] as Protocol[string];
  const out = new ByteWriter();
  encodeArgs(out, method, args);
  return decodeArgs(method, new ByteReader(out.take()));
}

function answerThrough(release: MasterRelease, name: keyof MasterProtocol, answer: unknown) {
  const { response } = (protocolOf(release) as Protocol)[name] as Protocol[string];
  const out = new ByteWriter();
  encodeMessage(out, response, answer);
  return decodeMessage(new ByteReader(out.take()), response) as unknown;
}

describe('arguments in an older layout', () => {
  it.each(masterReleases)('are the same values in %s where it can express them', (release) => {
    const plain = {
      ...config,
      nofReplicaNum: 0,
      dfsReplicaNum: 0,
      softPinTtlMs: null,
      withHardPin: false,
      preferredNofSegments: [],
      dataType: 0,
      hostId: '',
      groupIds: null,
    };
    const put = [client, 'key', 12, plain, 'default'];
    expect(argsThrough(release, 'PutStart', put)).toEqual(put);
    const segment = {
      ...{ id: client, name: 'n', base: 1n, size: 2, teEndpoint: 'e', protocol: 'tcp', hostId: '' },
    };
    expect(argsThrough(release, 'MountSegment', [segment, client])).toEqual([segment, client]);
    const end = [client, { key: 'key', objectChecksum: null }, ReplicaType.ALL, 'default'];
    expect(argsThrough(release, 'PutEnd', end)).toEqual(end);
    expect(argsThrough(release, 'ExistKey', ['key', 'default'])).toEqual(['key', 'default']);
  });

  it('lose wishes that the layout cannot express', () => {
    const kept = (release: MasterRelease) =>
      argsThrough(release, 'PutStart', [client, 'key', 12, config, 'default'])[3];
    const of0312 = { ...config, dfsReplicaNum: 0, softPinTtlMs: null };
    const of0311 = { ...of0312, hostId: '', groupIds: null };
    const of0310post2 = { ...of0311, nofReplicaNum: 0, preferredNofSegments: [], dataType: 0 };
    expect(kept('0.3.13')).toEqual(config);
    expect(kept('0.3.12')).toEqual(of0312);
    expect(kept('0.3.11')).toEqual(of0311);
    expect(kept('0.3.10.post2')).toEqual(of0310post2);
    expect(kept('0.3.9')).toEqual({ ...of0310post2, withHardPin: false });
    const disable = { ...config, softPinAction: SoftPinAction.DISABLE };
    expect(argsThrough('0.3.12', 'PutStart', [client, 'key', 12, disable, 'blue'])).toEqual([
      ...[client, 'key', 12, { ...of0312, softPinAction: SoftPinAction.PRESERVE }, 'blue'],
    ]);
    const end = [client, [{ key: 'key', objectChecksum: 7n }], ReplicaType.ALL, 'default'];
    expect(argsThrough('0.3.10', 'BatchPutEnd', end)).toEqual([
      ...[client, [{ key: 'key', objectChecksum: null }], ReplicaType.MEMORY, 'default'],
    ]);
  });

  it('are refused where a tenant would become another', () => {
    expect(() => argsThrough('0.3.11', 'ExistKey', ['key', 'blue'])).toThrow(Fault);
    expect(argsThrough('0.3.12', 'ExistKey', ['key', 'blue'])).toEqual(['key', 'blue']);
    // No tenant is all of them, and here there is one.
    expect(argsThrough('0.3.11', 'RemoveAll', [true, ''])).toEqual([true, 'default']);
  });
});

const memory = {
  id: 1,
  location: {
    kind: 'memory' as const,
    buffer: { size: 10, bufferAddress: 2n ** 40n, protocol: 'tcp', transportEndpoint: 'a:1' },
  },
  status: ReplicaStatus.COMPLETE,
};
const nof = { ...memory, id: 2, location: { ...memory.location, kind: 'nof' as const } };
const dfs = {
  id: 3,
  location: {
    kind: 'dfs' as const,
    filePath: '/f',
    ...{ offset: 1, objectSize: 10, alignedSize: 16, shardIdx: -1 },
  },
  status: ReplicaStatus.COMPLETE,
};
const found = (...replicas: GetReplicaListResponse['replicas'][number][]) => ({
  ok: { replicas, leaseTtlMs: 5_000, objectChecksum: 9n },
});

describe('answers in an older layout', () => {
  it('leave out copies of a kind that the release does not know', () => {
    expect(answerThrough('0.3.13', 'GetReplicaList', found(memory, nof, dfs))).toEqual(
      found(memory, nof, dfs),
    );
    const unchecked = (...replicas: Parameters<typeof found>) => ({
      ok: { ...found(...replicas).ok, objectChecksum: null },
    });
    expect(answerThrough('0.3.12', 'GetReplicaList', found(memory, nof, dfs))).toEqual(
      unchecked(memory, nof),
    );
    expect(answerThrough('0.3.9', 'BatchGetReplicaList', [found(memory, nof, dfs)])).toEqual([
      unchecked(memory),
    ]);
    expect(
      answerThrough('0.3.12', 'GetReplicaListByRegex', {
        ok: [
          ['a', [dfs]],
          ['b', [dfs, memory]],
        ],
      }),
    ).toEqual({ ok: [['b', [memory]]] });
  });

  it('are an error of that release where nothing is left', () => {
    expect(answerThrough('0.3.12', 'GetReplicaList', found(dfs))).toEqual({
      error: ErrorCode.OBJECT_NOT_FOUND,
    });
    expect(answerThrough('0.3.12', 'PutStart', { ok: [dfs] })).toEqual({
      error: ErrorCode.NO_AVAILABLE_HANDLE,
    });
    const unspeakable = { error: ErrorCode.REPLICA_NOT_FOUND };
    expect(answerThrough('0.3.12', 'CopyStart', { ok: { source: dfs, targets: [] } })).toEqual(
      unspeakable,
    );
    expect(answerThrough('0.3.12', 'MoveStart', { ok: { source: memory, target: dfs } })).toEqual(
      unspeakable,
    );
    expect(answerThrough('0.3.9', 'GetReplicaList', { error: ErrorCode.INVALID_KEY })).toEqual({
      error: ErrorCode.INVALID_KEY,
    });
  });

  it('name tasks for a disk by key and size before 0.3.12, of the default tenant', () => {
    const tasks = [
      { tenantId: 'default', key: 'a', size: 1 },
      { tenantId: 'blue', key: 'b', size: 2 },
    ];
    expect(answerThrough('0.3.12', 'OffloadObjectHeartbeat', { ok: tasks })).toEqual({ ok: tasks });
    expect(answerThrough('0.3.11', 'OffloadObjectHeartbeat', { ok: tasks })).toEqual({
      ok: tasks.slice(0, 1),
    });
  });
});

describe('tables of releases', () => {
  it('share what is laid out as it is now', () => {
    expect(protocolOf('0.3.9').Ping).toBe(masterProtocol.Ping);
    expect(protocolOf('0.3.12').PutStart).not.toBe(masterProtocol.PutStart);
  });
});
