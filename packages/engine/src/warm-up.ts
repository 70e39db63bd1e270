import { type LlamaContext, parseSequenceState, type SequenceLayout } from '@tsukimi/llama';

const tokenCount = 3;

/**
 * Computes a few tokens, so that a broken model shows at the start and not with the first request, and shows how a
 * sequence is exported; null when it is not the plain attention layout.
 */
export async function warmUp(context: LlamaContext): Promise<SequenceLayout | null> {
  const { batch, slots } = context;
  for (let row = 0; row < tokenCount; row++) {
    batch.tokens[row] = row;
    batch.positions[row] = row;
    batch.sequences[row] = 0;
    batch.outputs[row] = row === tokenCount - 1 ? 1 : 0;
  }
  await context.decode(tokenCount);
  const state = Buffer.alloc(context.stateByteCount(0));
  await context.exportState(0, state);
  context.removeCells(0, -1, -1);
  return parseSequenceState(state, slots);
}
