import { factsOf } from '../core/pd-facts.ts';
import type { LegRequest, LegSource, Pair, PdProtocol } from './protocol.ts';

/** Longer batches are left to the engine, which gives their items rooms in a row itself. */
const roomCountMax = 1_024;
const roomMask = 2n ** 63n - 1n;
const nothingTold = { cachedTokenCount: null, kvTransferParams: null, held: true };

/**
 * SGLang: both legs are sent at once and are the same request, with the prefill instance's bootstrap
 * server and a room in which the two meet. Neither kind can serve without the other. One that waits
 * for its partner does so for minutes, so the pair is ended together, by its `rid` too (a batch has none:
 * it ends with its connection).
 */
export const sglang: PdProtocol = {
  name: 'sglang',
  order: 'together',
  handover: 'single-use',
  release: 'abort-both',
  fits: ({ prefill, decode }) =>
    factsOf(prefill, 'sglang') !== null && factsOf(decode, 'sglang') !== null,
  prefillLeg: leg,
  handoverOf: () => nothingTold,
  decodeLeg: leg,
  abortRequest: ({ headers }, { attemptId }) => ({
    path: '/abort_request',
    headers,
    body: Buffer.from(`{"rid":"${attemptId}"}`),
  }),
};

function leg({ path, headers, members }: LegSource, pair: Pair): LegRequest {
  const host = JSON.stringify(pair.prefill?.endpoint.host ?? '');
  const port = String(factsOf(pair.prefill, 'sglang')?.bootstrapPort ?? null);
  const count = itemCount(members);
  const set: Record<string, string> =
    count === null || count > roomCountMax
      ? {
          bootstrap_host: host,
          bootstrap_port: port,
          bootstrap_room: String(pair.room),
        }
      : {
          bootstrap_host: repeated(host, count),
          bootstrap_port: repeated(port, count),
          bootstrap_room: `[${roomsOf(pair, count).join(',')}]`,
        };
  if (count === null) set['rid'] = `"${pair.attemptId}"`;
  return { path, headers, body: members.patched({ set }) };
}

/** Answers that the request asks for; null for one. */
function itemCount(members: LegSource['members']): number | null {
  const prompts =
    members.textCount('prompt') ?? members.textCount('text') ?? members.textCount('input_ids');
  const n = members.scalar('n');
  const answers = typeof n === 'number' && Number.isInteger(n) && n > 1 ? n : 1;
  return prompts === null && answers === 1 ? null : (prompts ?? 1) * answers;
}

function repeated(value: string, count: number): string {
  return `[${Array.from({ length: count }, () => value).join(',')}]`;
}

function roomsOf({ room }: Pair, count: number): bigint[] {
  return Array.from({ length: count }, (_, at) => (room + BigInt(at)) & roomMask);
}
