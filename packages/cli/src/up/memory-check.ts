import { parseByteSize } from '@tsukimi/base';
import {
  availableMemory,
  kvByteCountPerToken,
  planMemory,
  resolveModelPath,
} from '@tsukimi/instance';
import { readGgufHeader } from '@tsukimi/llama';
import type { UpOptions } from './options.ts';

/** Plans the memory of all instances together, since each alone would believe that all of it is its own. */
export async function checkClusterMemory(options: UpOptions): Promise<{ maxModelLen: number }> {
  const header = await readGgufHeader(resolveModelPath(options.model));
  const instanceCount = options.prefill + options.decode;
  const segmentByteCount = parseByteSize(options.segmentSize) ?? 0;
  return planMemory(
    {
      weightsByteCount: header.byteCount,
      slotCount: options.maxNumSeqs,
      kvByteCountPerToken: kvByteCountPerToken(header),
      // Only prefill instances lend memory: their share is spread over all.
      segmentByteCount: Math.ceil((segmentByteCount * options.prefill) / instanceCount),
      maxModelLen: options.maxModelLen ?? null,
      modelContextLength: header.contextLength ?? contextLengthUnknown,
    },
    { availableByteCount: availableMemory(), utilization: options.gpuMemoryUtilization },
    instanceCount,
  );
}

/** Of a file that does not say; llama.cpp's own fallback. */
const contextLengthUnknown = 512;
