import { SeededRandom } from '@tsukimi/base';
import { describe, expect, it } from 'vitest';
import {
  type PdFacts,
  type PdProtocolName,
  pdProtocolNames,
  servesAlone,
} from '../src/core/pd-facts.ts';
import type { Identity, PoolInstance } from '../src/index.ts';
import { JsonMembers } from '../src/json-members.ts';
import { type LegRequest, type LegSource, Pair } from '../src/protocols/protocol.ts';
import { protocolOf } from '../src/protocols/protocols.ts';
import { traitsOf } from '../src/request-traits.ts';
import { withoutTransferParams } from '../src/transfer-params.ts';

const random = new SeededRandom(7);

function instance(kind: 'prefill' | 'decode', host: string, pd: PdFacts | null): PoolInstance {
  const identity: Identity = {
    modelIds: ['m'],
    models: [],
    ours: pd?.protocol === 'tsukimi',
    fingerprint: null,
    tensorParallelSize: null,
    engineId: null,
    kvRole: null,
    pd,
  };
  const endpoint = { host, port: 8_000 };
  return { kind, endpoint, address: `${host}:8000`, identity } as PoolInstance;
}

const side = {
  engineId: 'engine-p',
  host: '10.0.0.1',
  port: 5_600,
  tensorParallelSize: 2,
  pipelineParallelSize: 1,
};
const facts: Readonly<Record<PdProtocolName, readonly [PdFacts, PdFacts | null]>> = {
  auto: [{ protocol: 'auto' }, { protocol: 'auto' }],
  tsukimi: [{ protocol: 'tsukimi' }, { protocol: 'tsukimi' }],
  store: [{ protocol: 'store' }, null],
  lmcache: [{ protocol: 'lmcache' }, null],
  nixl: [{ protocol: 'nixl' }, null],
  nixl_push: [{ protocol: 'nixl_push', side }, null],
  mooncake: [
    {
      protocol: 'mooncake',
      bootstrap: { address: 'http://10.0.0.1:8998', engineIds: ['e0', 'e1', 'e2'] },
    },
    null,
  ],
  mooncake_v0: [{ protocol: 'mooncake_v0' }, null],
  p2p_nccl: [
    { protocol: 'p2p_nccl', zmqAddress: '10.0.0.1:21001' },
    { protocol: 'p2p_nccl', zmqAddress: '10.0.0.2:22001' },
  ],
  sglang: [
    { protocol: 'sglang', bootstrapPort: 8_998 },
    { protocol: 'sglang', bootstrapPort: null },
  ],
};

function pairOf(name: PdProtocolName): Pair {
  const [prefill, decode] = facts[name];
  return new Pair(
    instance('prefill', '10.0.0.1', prefill),
    instance('decode', '10.0.0.2', decode),
    random,
  );
}

function source(text: string, path = '/v1/completions'): LegSource {
  const members = withoutTransferParams(JsonMembers.parse(Buffer.from(text)));
  return {
    path,
    body: members.bytes,
    members,
    traits: traitsOf(members, path),
    headers: ['content-type', 'application/json', 'x-request-id', 'mine'],
    outputTokenIds: [],
    promptTokenIds: [],
    asksPromptTokenIds: false,
    asksChunkKeys: false,
  };
}

const text = ({ body }: LegRequest) => body.toString('utf8');
const json = (leg: LegRequest) => JSON.parse(text(leg)) as Record<string, never>;
const header = ({ headers }: LegRequest, name: string) =>
  headers.flatMap((one, at) => (at % 2 === 0 && one === name ? [headers[at + 1]] : []));

const client =
  '{"prompt":"Once","seed": 9223372036854775807,"max_tokens":64,"min_tokens":4,"stream":true,' +
  '"stream_options":{"include_usage":true},"stop":["\\n"],"x":{"y":"\\u00e9 "},"cache_salt":"s",' +
  '"kv_transfer_params":{"do_remote_prefill":true,"remote_host":"evil"}}';
/** More members than any object of a client or an engine has. */
const crowd = Array.from({ length: 1_500 }, (_, at) => `"m${at}":0`).join(',');
const kept = ['"seed": 9223372036854775807', '"x":{"y":"\\u00e9 "}', '"prompt":"Once"'];
const params = '{"do_remote_prefill": true,"remote_block_ids":[[1,2]],"n":9223372036854775807}';
const answer = Buffer.from(
  `{"id":"1","choices":[{"text":"a","finish_reason":"length"}],"kv_transfer_params":${params},` +
    '"usage":{"prompt_tokens":9,"prompt_tokens_details":{"cached_tokens":5}}}',
);

describe.each(pdProtocolNames)('the protocol %s', (name) => {
  const pair = pairOf(name);
  const protocol = protocolOf(pair);
  const legs = (request: LegSource) => {
    const handover = protocol.order === 'together' ? null : protocol.handoverOf(answer, pair);
    return [
      protocol.prefillLeg(request, pair),
      protocol.decodeLeg(request, pair, handover),
    ] as const;
  };

  it('is that of a pair that speaks it', () => {
    expect(protocol.name).toBe(name);
    // What is written into one instance's memory is of no use to another.
    if (protocol.order === 'together') expect(protocol.handover).toBe('single-use');
    if (protocol.release === 'nothing') expect(protocol.handover).toBe('shared');
  });

  it('keeps every byte that it does not have to change, and lets no client name the KV', () => {
    for (const leg of legs(source(client))) {
      for (const bytes of kept) expect(text(leg)).toContain(bytes);
      expect(text(leg)).not.toContain('evil');
      expect(text(leg).match(/"kv_transfer_params"/g)?.length ?? 0).toBeLessThan(2);
      expect(leg.path).toBe('/v1/completions');
      expect(header(leg, 'x-request-id')).toHaveLength(1);
    }
  });

  it('gives the decode instance the limits that the client asked for', () => {
    expect(json(legs(source(client))[1])).toMatchObject({
      max_tokens: 64,
      min_tokens: 4,
      stream: true,
      stream_options: { include_usage: true },
      stop: ['\n'],
    });
  });

  it('lets the prefill instance make one token, in one piece, of one answer', () => {
    if (name === 'sglang') return expect(servesAlone(pair.decode as PoolInstance)).toBe(false);
    for (const [path, given, limit] of [
      ['/v1/completions', '"max_tokens":9', { max_tokens: 1 }],
      [
        '/v1/chat/completions',
        '"max_completion_tokens":9',
        { max_tokens: 1, max_completion_tokens: 1 },
      ],
      ['/v1/responses', '"max_output_tokens":9', { max_output_tokens: 1 }],
      ['/v1/messages', '"max_tokens":9', { max_tokens: 1 }],
      [
        '/inference/v1/generate',
        '"sampling_params":{"max_tokens":9,"min_tokens":2,"seed":9223372036854775807}',
        { sampling_params: { max_tokens: 1 } },
      ],
    ] as const) {
      const asked = `{${given},"n":4,"best_of":4,"min_tokens":3,"stream":true,"stream_options":{}}`;
      const leg = protocol.prefillLeg(source(asked, path), pair);
      expect(leg.path).toBe(path);
      expect(json(leg)).toMatchObject({ ...limit, n: 1, stream: false });
      for (const gone of ['best_of', 'min_tokens', 'stream_options']) {
        expect(text(leg)).not.toContain(gone);
      }
      if (path === '/inference/v1/generate') {
        expect(text(leg)).toContain('"seed":9223372036854775807');
        expect(json(leg)).not.toHaveProperty('max_tokens');
      }
    }
  });

  it('sends only the request itself where nobody prefills', () => {
    const alone = new Pair(null, pair.decode, random);
    const asked = source('{"prompt":"Once","max_tokens":3}');
    const leg = protocolOf(alone).decodeLeg(asked, alone, null);
    expect(text(leg)).toBe('{"prompt":"Once","max_tokens":3}');
  });

  it('takes any answer of the prefill instance', () => {
    const crowded = `{"kv_transfer_params":{${crowd}}}`;
    const odd = ['', 'null', '{', '[]', '{"choices":[]}', '{"kv_transfer_params":null}', crowded];
    for (const bytes of odd) {
      const handover = protocol.handoverOf(Buffer.from(bytes), pair);
      const asked = source('{"prompt":"Once"}');
      expect(text(protocol.decodeLeg(asked, pair, handover))).toContain('"prompt":"Once"');
    }
  });

  it('tells what prefill found cached', () => {
    const told = protocol.handoverOf(answer, pair)?.cachedTokenCount;
    expect(told).toBe(name === 'sglang' ? null : 5);
  });

  it('uses no id twice', () => {
    const ids = Array.from({ length: 3 }, () => {
      const other = pairOf(name);
      return text(protocol.decodeLeg(source('{"prompt":"Once"}'), other, null));
    });
    const [first] = ids;
    const hasIds = protocol.order === 'together';
    expect(new Set(ids).size).toBe(hasIds ? 3 : 1);
    expect(first).toContain('"prompt":"Once"');
  });
});

describe('NIXL', () => {
  const pair = pairOf('nixl');
  const nixl = protocolOf(pair);

  it('asks prefill to keep the KV, and repeats what it answers byte for byte', () => {
    const asked = source(client);
    expect(json(nixl.prefillLeg(asked, pair))).toMatchObject({
      kv_transfer_params: {
        do_remote_decode: true,
        do_remote_prefill: false,
        remote_engine_id: null,
        remote_block_ids: null,
        remote_host: null,
        remote_port: null,
      },
      ignore_eos: true,
    });
    const leg = nixl.decodeLeg(asked, pair, nixl.handoverOf(answer, pair));
    expect(text(leg)).toContain(`"kv_transfer_params":${params}`);
  });

  it('lets decode compute by itself where nothing was handed over', () => {
    for (const told of ['', ',"kv_transfer_params":null', ',"kv_transfer_params":{}']) {
      const bytes = Buffer.from(`{"choices":[{"finish_reason":"stop"}]${told}}`);
      expect(nixl.handoverOf(bytes, pair)).toBeNull();
    }
    expect(text(nixl.decodeLeg(source(client), pair, null))).not.toContain('kv_transfer');
  });

  it('replaces an address that only the prefill host itself can reach', () => {
    const toldBy = (host: string, told: string) => {
      const from = new Pair(instance('prefill', host, null), pair.decode, random);
      const bytes = `{"kv_transfer_params":{"remote_host":"${told}","remote_port":5600}}`;
      const handover = nixl.handoverOf(Buffer.from(bytes), from);
      return JSON.parse(handover?.kvTransferParams ?? '') as unknown;
    };
    for (const told of ['localhost', '127.0.0.1', '0.0.0.0', '::', '::1', '']) {
      expect(toldBy('gpu-1', told)).toEqual({ remote_host: 'gpu-1', remote_port: 5_600 });
    }
    expect(toldBy('gpu-1', '10.9.9.9')).toMatchObject({ remote_host: '10.9.9.9' });
    expect(toldBy('127.0.0.1', 'localhost')).toMatchObject({ remote_host: 'localhost' });
  });

  it("takes the hand-over of Mooncake's old connector only of an answer that ended by its length", () => {
    const old = protocolOf(pairOf('mooncake_v0'));
    expect(old.handoverOf(answer, pair)?.kvTransferParams).toBe(params);
    const stopped = Buffer.from(answer.toString().replace('"length"', '"stop"'));
    expect(old.handoverOf(stopped, pair)).toBeNull();
  });
});

describe('NIXL, pushed', () => {
  it('has both legs meet by an id, at the place that was configured', () => {
    const pair = pairOf('nixl_push');
    const push = protocolOf(pair);
    const asked = source(client);
    const transferId = `xfer-${pair.attemptId}`;
    expect(json(push.prefillLeg(asked, pair))['kv_transfer_params']).toEqual({
      do_remote_decode: true,
      do_remote_prefill: false,
      remote_engine_id: null,
      remote_block_ids: null,
      remote_host: null,
      remote_port: null,
      transfer_id: transferId,
    });
    expect(json(push.decodeLeg(asked, pair, null))['kv_transfer_params']).toEqual({
      do_remote_decode: false,
      do_remote_prefill: true,
      remote_engine_id: 'engine-p',
      remote_host: '10.0.0.1',
      remote_port: 5_600,
      tp_size: 2,
      pp_size: 1,
      remote_request_id: 'mine',
      transfer_id: transferId,
    });
  });

  it('is not tried where that place is not known', () => {
    const unknown = instance('prefill', '10.0.0.1', { protocol: 'nixl_push', side: null });
    expect(protocolOf(new Pair(unknown, null, random)).name).toBe('store');
  });
});

describe("vLLM's MooncakeConnector", () => {
  it('names transfer, bootstrap server and engine, of one rank for both legs', () => {
    const ranks = new Set<number>();
    for (let count = 0; count < 24; count += 1) {
      const pair = pairOf('mooncake');
      const mooncake = protocolOf(pair);
      const prefill = mooncake.prefillLeg(source(client), pair);
      const decode = mooncake.decodeLeg(source(client), pair, null);
      const transfer_id = `xfer-${pair.attemptId}`;
      const [rank] = header(prefill, 'x-data-parallel-rank');
      expect(json(prefill)).toMatchObject({ ignore_eos: true });
      expect(json(prefill)).not.toHaveProperty('stop');
      expect(json(prefill)['kv_transfer_params']).toEqual({
        do_remote_decode: true,
        do_remote_prefill: false,
        transfer_id,
      });
      expect(json(decode)['kv_transfer_params']).toEqual({
        do_remote_decode: false,
        do_remote_prefill: true,
        remote_bootstrap_addr: 'http://10.0.0.1:8998',
        remote_engine_id: `e${rank}`,
        transfer_id,
      });
      expect(header(decode, 'x-data-parallel-rank')).toEqual([]);
      ranks.add(Number(rank));
    }
    expect(ranks).toEqual(new Set([0, 1, 2]));
  });

  it('knows that an answer which ended otherwise leaves decode waiting', () => {
    const pair = pairOf('mooncake');
    const mooncake = protocolOf(pair);
    const ended = (how: string) => mooncake.handoverOf(Buffer.from(how), pair) !== null;
    expect(ended('{"choices":[{"finish_reason": "length"}]}')).toBe(true);
    expect(
      ended('{"choices":[{"text":"\\"finish_reason\\":\\"length\\"","finish_reason":"stop"}]}'),
    ).toBe(false);
    expect(ended('{"stop_reason":"max_tokens"}')).toBe(true);
    expect(ended('{"stop_reason":"end_turn"}')).toBe(false);
    expect(ended('{"status":"incomplete"}')).toBe(true);
    expect(ended('{"status":"completed","tools":[{"status":"incomplete"}]}')).toBe(false);
  });
});

describe('P2pNccl', () => {
  it('names both sockets in a request id that both legs share', () => {
    const pair = pairOf('p2p_nccl');
    const nccl = protocolOf(pair);
    const id = `___prefill_addr_10.0.0.1:21001___decode_addr_10.0.0.2:22001_${pair.attemptId}`;
    expect(header(nccl.prefillLeg(source(client), pair), 'x-request-id')).toEqual([id]);
    expect(header(nccl.decodeLeg(source(client), pair, null), 'x-request-id')).toEqual([id]);
  });

  it('is not tried with an instance whose socket is not known', () => {
    const { prefill } = pairOf('p2p_nccl');
    const decode = instance('decode', '10.0.0.2', null);
    expect(protocolOf(new Pair(prefill, decode, random)).name).toBe('store');
  });
});

describe('SGLang', () => {
  const legsOf = (body: string) => {
    const pair = pairOf('sglang');
    const sglang = protocolOf(pair);
    const asked = source(body);
    const prefill = text(sglang.prefillLeg(asked, pair));
    expect(text(sglang.decodeLeg(asked, pair, null))).toBe(prefill);
    return { pair, prefill };
  };

  it('sends both the same request, with one room of 63 bits in plain digits', () => {
    const { pair, prefill } = legsOf('{"prompt":"Once","bootstrap_room":7,"max_tokens":5}');
    expect(prefill).toBe(
      `{"prompt":"Once","max_tokens":5,"bootstrap_host":"10.0.0.1","bootstrap_port":8998,` +
        `"bootstrap_room":${pair.room},"rid":"${pair.attemptId}"}`,
    );
    expect(pair.room).toBeLessThan(2n ** 63n);
  });

  it('gives each item of a batch a room of its own', () => {
    for (const body of [
      '{"prompt":["a","b","c"]}',
      '{"prompt":[[1],[2],[3]]}',
      '{"prompt":"a","n":3}',
    ]) {
      const { pair, prefill } = legsOf(body);
      const rooms = [0n, 1n, 2n].map((at) => (pair.room + at) & (2n ** 63n - 1n));
      expect(prefill).toContain(`"bootstrap_room":[${rooms.join(',')}]`);
      expect(prefill).toContain('"bootstrap_port":[8998,8998,8998]');
      expect(prefill).toContain('"bootstrap_host":["10.0.0.1","10.0.0.1","10.0.0.1"]');
    }
    expect(legsOf('{"prompt":[1,2,3]}').prefill).toMatch(/"bootstrap_room":\d+,/);
    expect(legsOf('{"prompt":["a"]}').prefill).toMatch(/"bootstrap_room":\[\d+\]/);
  });

  it('leaves a boundless batch to the engine', () => {
    expect(legsOf('{"prompt":"a","n":1000000000}').prefill).toMatch(/"bootstrap_room":\d+/);
  });

  it('ends both legs by the id that they carry', () => {
    const { pair, prefill } = legsOf('{"prompt":"Once","rid":"of the client"}');
    const abort = protocolOf(pair).abortRequest?.(source('{}'), pair);
    expect(abort?.headers).toEqual(source('{}').headers);
    expect(abort?.path).toBe('/abort_request');
    expect(abort?.body.toString()).toBe(`{"rid":"${pair.attemptId}"}`);
    expect(prefill).toContain(`"rid":"${pair.attemptId}"`);
  });

  it('does without a port where the engine has its default', () => {
    const prefill = instance('prefill', '10.0.0.1', { protocol: 'sglang', bootstrapPort: null });
    const pair = new Pair(prefill, pairOf('sglang').decode, random);
    const leg = protocolOf(pair).prefillLeg(source('{"prompt":"Once"}'), pair);
    expect(json(leg)['bootstrap_port']).toBeNull();
  });
});
