import { cachedTokenCountIn, chunkKeysIn } from './answers.ts';
import { prefillBody } from './prefill-body.ts';
import type { Handover, LegSource, PdProtocol } from './protocol.ts';
import { store } from './store.ts';

/**
 * Instances of ours share a store. A prefill instance answers once its chunks are there, and a decode
 * instance is told what prefill had not to compute; streams can be continued by token ids. Where one
 * of the pair is another engine, its own leg is that of `store`.
 */
export const tsukimi: PdProtocol = {
  name: 'tsukimi',
  order: 'prefill-first',
  handover: 'shared',
  release: 'nothing',
  prefillLeg(request, pair) {
    if (pair.prefill?.identity?.ours !== true) return store.prefillLeg(request, pair);
    const { path, headers, members, asksChunkKeys } = request;
    const set: Record<string, string> = { tsukimi_handover: 'true' };
    if (asksChunkKeys) set['tsukimi_chunk_keys'] = 'true';
    return { path, headers, body: prefillBody({ path, members }, { set }) };
  },
  handoverOf(answer, pair) {
    if (pair.prefill?.identity?.ours !== true) return store.handoverOf(answer, pair);
    return {
      cachedTokenCount: cachedTokenCountIn(answer),
      kvTransferParams: null,
      held: false,
      chunkKeys: chunkKeysIn(answer),
    };
  },
  decodeLeg(request, pair, handover) {
    if (pair.decode?.identity?.ours !== true) return store.decodeLeg(request, pair, handover);
    const { path, headers } = request;
    return { path, headers, body: decodeBody(request, handover) };
  },
};

/** The original when there is nothing to add. */
function decodeBody(
  { body, members, traits, outputTokenIds }: LegSource,
  handover: Handover | null,
): Buffer {
  const set: Record<string, string> = {};
  if (traits.streams && traits.resumable) set['return_token_ids'] = 'true';
  const cachedTokenCount = handover?.cachedTokenCount ?? null;
  if (cachedTokenCount !== null) set['tsukimi_prefill_cached_tokens'] = String(cachedTokenCount);
  if (outputTokenIds.length > 0) {
    set['tsukimi_resume'] = `{"output_token_ids":[${outputTokenIds.join(',')}]}`;
  }
  return Object.keys(set).length === 0 ? body : members.patched({ set });
}
