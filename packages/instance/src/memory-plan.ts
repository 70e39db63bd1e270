import { Fault, formatByteSize } from '@tsukimi/base';
import type { GgufHeader } from '@tsukimi/llama';

/** What one instance will hold in memory. */
export interface MemoryNeed {
  readonly weightsByteCount: number;
  readonly slotCount: number;
  readonly kvByteCountPerToken: number;
  /** Memory lent to the store. */
  readonly segmentByteCount: number;
  /** As asked for; null takes what fits, up to the model's own. */
  readonly maxModelLen: number | null;
  readonly modelContextLength: number;
}

export interface MemoryLimit {
  /** What the machine can give, see `availableMemory`. */
  readonly availableByteCount: number;
  /** Share of it that may be planned for, in (0, 1]. */
  readonly utilization: number;
}

export interface MemoryPlan {
  readonly maxModelLen: number;
  readonly needByteCount: number;
  readonly limitByteCount: number;
}

/** Slots are rounded to the cells that llama.cpp allots at a time. */
const cellGranularity = 256;
/** A context shorter than this serves nobody. */
const modelLenMin = 256;

/**
 * Fixes the context's length for `instanceCount` equal instances on one machine, or refuses with the
 * numbers and the option that helps. Faults: INVALID_ARGUMENT when longer than the model's own,
 * MISCONFIGURED when it does not fit.
 */
export function planMemory(need: MemoryNeed, limit: MemoryLimit, instanceCount = 1): MemoryPlan {
  if (need.maxModelLen !== null && need.maxModelLen > need.modelContextLength) {
    throw new Fault(
      'INVALID_ARGUMENT',
      `--max-model-len: ${need.maxModelLen} exceeds the model's own context of ${need.modelContextLength} tokens`,
    );
  }
  const limitByteCount = Math.floor(limit.availableByteCount * limit.utilization);
  const fixed = (need.weightsByteCount + need.segmentByteCount) * instanceCount;
  const perToken = need.kvByteCountPerToken * need.slotCount * instanceCount;
  const needFor = (maxModelLen: number) =>
    fixed + Math.ceil(maxModelLen / cellGranularity) * cellGranularity * perToken;
  const fitting = Math.floor((limitByteCount - fixed) / perToken / cellGranularity);
  const maxModelLen =
    need.maxModelLen ??
    Math.min(need.modelContextLength, Math.max(modelLenMin, fitting * cellGranularity));
  const needByteCount = needFor(maxModelLen);
  if (needByteCount > limitByteCount) {
    const cells = Math.ceil(maxModelLen / cellGranularity) * cellGranularity;
    const parts = [
      `weights ${formatByteSize(need.weightsByteCount)}`,
      `KV ${need.slotCount} × ${cells} tokens × ${formatByteSize(need.kvByteCountPerToken)}`,
      ...(need.segmentByteCount > 0
        ? [`store segment ${formatByteSize(need.segmentByteCount)}`]
        : []),
    ].join(' + ');
    const who = instanceCount === 1 ? parts : `${instanceCount} instances × (${parts})`;
    throw new Fault(
      'MISCONFIGURED',
      `not enough memory: ${who} = ${formatByteSize(needByteCount)}, but --gpu-memory-utilization ${limit.utilization} of ${formatByteSize(limit.availableByteCount)} available is ${formatByteSize(limitByteCount)}; lower --max-model-len or --max-num-seqs${need.segmentByteCount > 0 ? ' or global_segment_size' : ''}`,
    );
  }
  return { maxModelLen, needByteCount, limitByteCount };
}

/** Keys and values of all layers, as 16-bit numbers. 0 for models without attention. */
export function kvByteCountPerToken(header: GgufHeader): number {
  const rowLength = (header.keyLength ?? 0) + (header.valueLength ?? 0);
  return (header.blockCount ?? 0) * (header.headCountKv ?? 0) * rowLength * 2;
}
