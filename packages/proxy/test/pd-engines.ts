import type { ScriptedInstanceOptions, ScriptedRequest } from '../src/testing.ts';

/** A scripted prefill and decode instance of another engine, as its connector sees requests. */
export interface PdEngines {
  readonly prefill: ScriptedInstanceOptions;
  readonly decode: ScriptedInstanceOptions;
  /** What prefill instances keep for decode instances that have not come. */
  heldCount(): number;
}

type Params = Readonly<Record<string, unknown>>;

const engineId = '7f2b0c1e-0000-4000-8000-00000000beef';

/** Keeps the KV of a request until a decode instance names it, once; reuse is an error. */
export function nixlEngines(): PdEngines {
  const held = new Set<string>();
  let count = 0;
  return {
    heldCount: () => held.size,
    prefill: {
      ours: false,
      async connector({ body }) {
        const params = body['kv_transfer_params'] as Params | undefined;
        if (params?.['do_remote_decode'] !== true) return {};
        equal(params, {
          do_remote_decode: true,
          do_remote_prefill: false,
          remote_engine_id: null,
          remote_block_ids: null,
          remote_host: null,
          remote_port: null,
        });
        onlyOneToken(body);
        count += 1;
        held.add(`req-${count}`);
        const kept = { remote_engine_id: engineId, remote_request_id: `req-${count}` };
        const place = { remote_block_ids: [[count]], remote_host: 'localhost', remote_port: 5_600 };
        const sizes = { tp_size: 1, remote_num_tokens: 16 };
        const flags = { do_remote_prefill: true, do_remote_decode: false };
        return { kv_transfer_params: { ...flags, ...kept, ...place, ...sizes } };
      },
    },
    decode: {
      ours: false,
      async connector({ body }) {
        const params = body['kv_transfer_params'] as Params | undefined;
        if (params?.['do_remote_prefill'] !== true) return {};
        equal(params['remote_engine_id'], engineId);
        equal(params['remote_num_tokens'], 16);
        if (!held.delete(String(params['remote_request_id']))) throw new Error('its KV is gone');
        return {};
      },
    },
  };
}

/** Both legs wait for each other by `idOf`; `check` judges each by itself. */
function meeting(
  idOf: (request: ScriptedRequest) => string,
  check: (leg: 'prefill' | 'decode', request: ScriptedRequest) => void,
): PdEngines {
  const waiting = new Map<string, { leg: string; come: () => void }>();
  const met = new Set<string>();
  const connector = (leg: 'prefill' | 'decode') => async (request: ScriptedRequest) => {
    check(leg, request);
    const id = idOf(request);
    if (met.has(id)) throw new Error(`${id} was used before`);
    const other = waiting.get(id);
    if (other?.leg === leg) throw new Error(`${id} came twice to ${leg}`);
    if (other === undefined) {
      await new Promise<void>((come) => waiting.set(id, { leg, come }));
      return {};
    }
    waiting.delete(id);
    met.add(id);
    other.come();
    return {};
  };
  return {
    heldCount: () => waiting.size,
    prefill: { ours: false, connector: connector('prefill') },
    decode: { ours: false, connector: connector('decode') },
  };
}

/** Two data-parallel ranks, told by a bootstrap server at the instance's own port. */
export function mooncakeEngines(): PdEngines {
  const engines = meeting(
    ({ body }) => String((body['kv_transfer_params'] as Params)['transfer_id']),
    (leg, { body, headers }) => {
      const params = body['kv_transfer_params'] as Params;
      const id = params['transfer_id'];
      if (leg === 'prefill') {
        equal(params, { do_remote_decode: true, do_remote_prefill: false, transfer_id: id });
        onlyOneToken(body);
        if (!['0', '1'].includes(headers['x-data-parallel-rank'] as string))
          throw new Error('no rank');
        return;
      }
      equal(params['do_remote_prefill'], true);
      const known = ['rank-0', 'rank-1'].some((one) => one === params['remote_engine_id']);
      if (!known) throw new Error('no engine of that id');
      if (!/^http:\/\/127\.0\.0\.1:\d+$/.test(params['remote_bootstrap_addr'] as string)) {
        throw new Error('no bootstrap server there');
      }
    },
  );
  const workers = { worker_addr: { 0: { 0: 'tcp://127.0.0.1:1' } } };
  const query = { 0: { engine_id: 'rank-0', ...workers }, 1: { engine_id: 'rank-1', ...workers } };
  return { ...engines, prefill: { ...engines.prefill, tells: { '/query': query } } };
}

/** The prefill instance writes into blocks that the decode instance has registered there. */
export function nixlPushEngines(): PdEngines {
  return meeting(
    ({ body }) => String((body['kv_transfer_params'] as Params)['transfer_id']),
    (leg, { body, headers }) => {
      const params = body['kv_transfer_params'] as Params;
      const { transfer_id: id } = params;
      if (leg === 'prefill') {
        onlyOneToken(body);
        const place = { remote_host: null, remote_port: null };
        const nothing = { remote_engine_id: null, remote_block_ids: null, ...place };
        const flags = { do_remote_decode: true, do_remote_prefill: false };
        equal(params, { ...flags, ...nothing, transfer_id: id });
        return;
      }
      equal(params, {
        ...{ do_remote_decode: false, do_remote_prefill: true },
        ...{ remote_engine_id: 'engine-p', remote_host: '127.0.0.1', remote_port: 5_600 },
        ...{ tp_size: 2, pp_size: 1, remote_request_id: headers['x-request-id'] },
        transfer_id: id,
      });
    },
  );
}

/** Reads the request id alone, which says where the KV goes. */
export function p2pNcclEngines(): PdEngines {
  const sent = new Set<string>();
  const idOf = ({ headers }: ScriptedRequest) => {
    const id = String(headers['x-request-id']);
    const form =
      /^___prefill_addr_127\.0\.0\.1:21001___decode_addr_127\.0\.0\.1:22001_[0-9a-f]{32}$/;
    if (!form.test(id)) throw new Error(`${id} names no sockets`);
    return id;
  };
  return {
    heldCount: () => sent.size,
    prefill: {
      ours: false,
      async connector(request) {
        onlyOneToken(request.body);
        sent.add(idOf(request));
        return {};
      },
    },
    decode: {
      ours: false,
      async connector(request) {
        if (!sent.delete(idOf(request))) throw new Error('its KV never came');
        return {};
      },
    },
  };
}

/** Both get the very same request, with a room in which they meet. */
export function sglangEngines(): PdEngines {
  const bodies = new Map<string, string>();
  const engines = meeting(
    ({ text }) => /"bootstrap_room":(\d+)/.exec(text)?.[1] ?? 'no room',
    (_, { text, body }) => {
      const room = /"bootstrap_room":(\d+)/.exec(text)?.[1] ?? '';
      if (room === '' || BigInt(room) >= 2n ** 63n) throw new Error('no room of 63 bits');
      equal([body['bootstrap_host'], body['bootstrap_port']], ['127.0.0.1', 8_998]);
      equal(bodies.get(room) ?? text, text);
      bodies.set(room, text);
    },
  );
  const told = (mode: string) => ({
    '/server_info': { disaggregation_mode: mode, disaggregation_bootstrap_port: 8_998 },
  });
  // Its `/health` generates a token, for which it looks once a second.
  const own = { ownedBy: 'sglang', healthMs: 1_001 };
  return {
    ...engines,
    prefill: { ...engines.prefill, ...own, tells: told('prefill') },
    decode: { ...engines.decode, ...own, tells: told('decode') },
  };
}

function onlyOneToken(body: Params): void {
  equal(
    [body['max_output_tokens'] ?? body['max_tokens'], body['stream'], body['stream_options']],
    [1, false, undefined],
  );
}

function equal(seen: unknown, expected: unknown): void {
  const [one, other] = [JSON.stringify(seen), JSON.stringify(expected)];
  if (one !== other) throw new Error(`${one} instead of ${other}`);
}
