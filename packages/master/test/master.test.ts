import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { loadOptions, SeededRandom, SystemClock, silentLogger } from '@tsukimi/base';
import { eventually, FakeClock } from '@tsukimi/base/testing';
import { assembleMaster, type Master, masterOptions } from '@tsukimi/master';
import { RpcClient } from '@tsukimi/rpc';
import {
  ByteReader,
  ByteWriter,
  decodeMessage,
  ErrorCode,
  type MasterProtocol,
  masterProtocol,
  type Protocol,
  ResponseParser,
  writeFailureReport,
} from '@tsukimi/wire';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { configOf, segmentOf, uuid } from '../src/testing.ts';

const flags = ['--port=0', '--host=127.0.0.1', '--metrics-port=0', '--metrics_host=127.0.0.1'];
const [holder, writer] = [uuid(1), uuid(2)];
const ok = { ok: undefined };
const clock = new SystemClock();

let master: Master;
let client: RpcClient<MasterProtocol>;

async function start(argv: readonly string[] = []): Promise<void> {
  const options = loadOptions(masterOptions, { argv: [...flags, ...argv], env: {} });
  master = assembleMaster(options, { clock, random: new SeededRandom(1), logger: silentLogger });
  for (const service of master.services) await service.start();
  const address = { host: '127.0.0.1', port: master.rpc.port };
  client = new RpcClient({ address, protocol: masterProtocol, clock });
}

async function stop(): Promise<void> {
  client.close();
  master.core.checkInvariants();
  const deadline = AbortSignal.abort();
  for (const service of [...master.services].reverse()) await service.stop(deadline);
}

async function put(key: string, byteCount = 10): Promise<void> {
  const started = await client.call('PutStart', [writer, key, byteCount, configOf(), 'default']);
  expect(started).toHaveProperty('ok');
  const meta = { key, objectChecksum: null };
  expect(await client.call('PutEnd', [writer, meta, 4, 'default'])).toEqual(ok);
}

function admin(path: string, init: RequestInit = {}): Promise<Response> {
  return fetch(`http://127.0.0.1:${master.admin.port}${path}`, init);
}

describe('the master over its sockets', () => {
  beforeEach(() => start(['--admin-api-key', 'secret']));
  afterEach(stop);

  it('serves the life of an object and leaves nothing behind', async () => {
    expect(await client.call('MountSegment', [segmentOf(1, 100), holder])).toEqual(ok);
    expect(await client.call('ReMountSegment', [[segmentOf(1, 100)], holder])).toEqual(ok);
    expect(await client.call('Ping', [holder])).toEqual({
      ok: { viewVersionId: 0, clientStatus: 1 },
    });
    await put('k');
    expect(await client.call('ExistKey', ['k', 'default'])).toEqual({ ok: true });
    const found = await client.call('BatchGetReplicaList', [['k', 'none'], 'default']);
    expect(found).toMatchObject([
      { ok: { replicas: [{ location: { kind: 'memory', buffer: { size: 10 } } }] } },
      { error: ErrorCode.OBJECT_NOT_FOUND },
    ]);
    expect(await client.call('BatchQueryIp', [[holder, writer]])).toEqual({
      ok: [[holder, ['host']]],
    });
    expect(await client.call('BatchRemove', [['k'], true, 'default'])).toEqual([ok]);
    expect(await client.call('UnmountSegment', [uuid(1), holder])).toEqual(ok);
    expect(await (await admin('/debug/invariants')).json()).toMatchObject({
      ok: true,
      objects: 0,
      leases: 0,
      unfinishedPuts: 0,
      segments: [],
    });
  });

  it('places a batch in one segment if asked, and refuses one whose lists do not match', async () => {
    for (const number of [1, 2, 3]) {
      await client.call('MountSegment', [segmentOf(number, 100), holder]);
    }
    const keys = ['a', 'b', 'c', 'd', 'e', 'f'];
    const together = configOf({ preferAllocInSameNode: true });
    const lengths = keys.map(() => 10);
    expect(
      await client.call('BatchPutStart', [writer, keys, lengths, together, 'default']),
    ).toHaveLength(6);
    expect(
      master.core
        .segments()
        .map(({ usedByteCount }) => usedByteCount)
        .toSorted((one, other) => one - other),
    ).toEqual([0, 0, 60]);
    const refused = await client.call('BatchUpsertStart', [writer, keys, [1], together, 'default']);
    expect(refused).toEqual(keys.map(() => ({ error: ErrorCode.INVALID_PARAMS })));
  });

  it('suspects a client when its connection ends or others report it, until it pings', async () => {
    const { port } = master.rpc;
    const dial = () =>
      new RpcClient({ address: { host: '127.0.0.1', port }, protocol: masterProtocol, clock });
    const exists = () => client.call('ExistKey', ['k', 'default']);
    const [first, second] = [dial(), dial()];
    await first.call('MountSegment', [segmentOf(1, 100), holder]);
    await first.call('ReMountSegment', [[segmentOf(1, 100)], holder]);
    await put('k');
    await second.call('Ping', [holder]);
    first.close();
    expect(await exists()).toEqual({ ok: true });
    second.close();
    await eventually(() => master.core.suspectCount === 1, 'the end of the connection');
    expect(await exists()).toEqual({ ok: false });
    expect(await client.call('GetReplicaList', ['k', 'default'])).toEqual({ error: -703 });
    const third = dial();
    await third.call('Ping', [holder]);
    expect(await exists()).toEqual({ ok: true });
    third.close();
  });

  it('hears of an endpoint that could not be read, behind the arguments of any call', async () => {
    const time = new FakeClock();
    const reported = assembleMaster(loadOptions(masterOptions, { argv: flags, env: {} }), {
      clock: time,
      random: new SeededRandom(1),
      logger: silentLogger,
    });
    await reported.rpc.start();
    const reporter = new RpcClient({
      address: { host: '127.0.0.1', port: reported.rpc.port },
      protocol: masterProtocol,
      clock,
    });
    reported.core.mountSegment(segmentOf(1, 100), holder);
    time.advance(3_000);
    const out = new ByteWriter();
    writeFailureReport(out, { reporter: writer, endpoints: ['host:1'] });
    const appendix = out.take();
    await reporter.call('ExistKey', ['k', 'default'], { appendix });
    expect(reported.core.suspectCount).toBe(1);
    reporter.close();
    await reported.rpc.stop(AbortSignal.abort());
  });

  it('answers admins as Mooncake does', async () => {
    await client.call('MountSegment', [segmentOf(1, 100), holder]);
    await put('k');
    const text = async (path: string) => await (await admin(path)).text();
    expect(await text('/get_all_keys')).toBe('k\n');
    expect(await text('/query_segment?segment=host:1')).toBe(
      'host:1\nUsed(bytes): 10\nCapacity(bytes) : 100\n',
    );
    expect(await (await admin('/query_key?key=k')).json()).toEqual({
      success: true,
      data: [
        {
          size_: 10,
          buffer_address_: 2 ** 40,
          protocol_: 'tcp',
          transport_endpoint_: 'host:1',
        },
      ],
    });
    expect(await (await admin('/query_key?key=none')).json()).toEqual({
      success: false,
      error_code: -704,
      error_message: 'OBJECT_NOT_FOUND',
    });
    expect(await (await admin('/get_segments_detail')).json()).toMatchObject({
      total_segments: 1,
      segments: [{ segment_id: '1-1', base_address: '0x10000000000', status: 'OK' }],
    });
    const metrics = await text('/metrics');
    expect(metrics).toContain('\nmaster_key_count 1\n');
    expect(metrics).toContain('\nmaster_put_start_requests_total 1\n');
    expect(metrics).toContain('segment_allocated_bytes{segment="host:1"} 10\n');
    expect((await admin('/nothing')).status).toBe(404);
  });

  it('removes everything for admins who know the key', async () => {
    await client.call('MountSegment', [segmentOf(1, 100), holder]);
    await put('k');
    const removeAll = (headers: Record<string, string>) =>
      admin('/api/v1/remove_all?force=true', { method: 'POST', headers });
    expect((await removeAll({ 'x-api-key': 'wrong' })).status).toBe(403);
    expect(await (await removeAll({ 'x-api-key': 'secret' })).json()).toEqual({
      success: true,
      removed_count: 1,
    });
    expect(master.core.usedByteCount).toBe(0);
  });
});

describe('a recorded session of the real client', () => {
  afterEach(stop);

  it('gets the answers the real master gave, but for the addresses', async () => {
    await start();
    const session = recordedSession();
    expect(session.length).toBeGreaterThan(15);
    const socket = connect(master.rpc.port, '127.0.0.1');
    const parser = new ResponseParser(2 ** 20);
    for (const { name, request, response } of session) {
      socket.write(request);
      const [chunk] = (await once(socket, 'data')) as [Buffer];
      const [given] = parser.push(chunk);
      const [recorded] = new ResponseParser(2 ** 20).push(response);
      const { response: type } = (masterProtocol as Protocol)[name] as Protocol[string];
      const decode = (body: Buffer) =>
        JSON.stringify(decodeMessage(new ByteReader(body), type), (field, value: unknown) =>
          typeof value === 'bigint' ? field : value,
        );
      expect([name, decode(given?.body as Buffer)]).toEqual([
        name,
        decode(recorded?.body as Buffer),
      ]);
    }
    socket.destroy();
    await client.call('RemoveAll', [true, 'default']);
    expect(master.core.usedByteCount).toBe(0);
  });
});

/** Requests with their answers, up to the first write whose request was not recorded. */
function recordedSession(): { name: string; request: Buffer; response: Buffer }[] {
  const file = new URL('../../wire/test/vectors/mooncake-0.3.13.json', import.meta.url);
  const { captured_rpc: frames } = JSON.parse(readFileSync(file, 'utf8')) as {
    captured_rpc: { name: string; direction: string; frame_hex: string }[];
  };
  const session: { name: string; request: Buffer; response: Buffer }[] = [];
  const asked: { name: string; request: Buffer }[] = [];
  for (const { name, direction, frame_hex } of frames) {
    const bytes = Buffer.from(frame_hex, 'hex');
    if (direction === 'request') {
      asked.push({ name, request: bytes });
      continue;
    }
    const index = asked.findIndex(
      (one) => one.name === name && one.request.readUInt32LE(4) === bytes.readUInt32LE(4),
    );
    const [request] = index === -1 ? [] : asked.splice(index, 1);
    if (request !== undefined) session.push({ ...request, response: bytes });
    else if (name === 'PutStart') break;
  }
  return session;
}
