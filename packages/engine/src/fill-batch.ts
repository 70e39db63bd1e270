import type { Batch } from '@tsukimi/llama';
import type { PlannedRows, RequestId } from './core/scheduler.ts';

export interface FilledBatch {
  readonly rowCount: number;
  /** For each of the planned rows, the batch's row of its last token. */
  readonly lastRows: readonly number[];
}

/**
 * Writes what is planned into the batch. Every prompt gets an even number of rows, for equal numbers however it is cut
 * (see `LlamaContext.decode`): where one is missing, a row follows whose cell must be removed after the decode.
 */
export function fillBatch(
  batch: Batch,
  planned: readonly PlannedRows[],
  tokensOf: (id: RequestId) => Int32Array,
): FilledBatch {
  const lastRows: number[] = [];
  let row = 0;
  for (const { id, slot, kind, from, count, output } of planned) {
    const tokens = tokensOf(id);
    const filledCount = kind === 'prefill' ? count + (count % 2) : count;
    for (let index = 0; index < filledCount; index++, row++) {
      const last = index === count - 1;
      batch.tokens[row] = index < count ? (tokens[from + index] as number) : 0;
      batch.positions[row] = from + index;
      batch.sequences[row] = slot;
      batch.outputs[row] = output && last ? 1 : 0;
      if (last) lastRows.push(row);
    }
  }
  return { rowCount: row, lastRows };
}
