import type { ChunkFlaw } from './core/chunk-header.ts';

/** Why something that was wanted did not happen. None of it fails a request. */
export type FailureReason =
  | 'lookup'
  | 'load-deadline'
  | 'read'
  | 'lease-expired'
  | 'memory'
  | 'no-space'
  | 'put'
  | 'save-deadline';

/** Counts since the start, for metrics. */
export interface ConnectorCounters {
  lookupCount: number;
  lookedUpTokenCount: number;
  hitTokenCount: number;
  loadedChunkCount: number;
  loadedByteCount: number;
  storedChunkCount: number;
  storedByteCount: number;
  /** Chunks a save found in the store already. */
  presentChunkCount: number;
  corruptChunkCount: number;
  readonly flaws: Record<ChunkFlaw, number>;
  readonly failures: Record<FailureReason, number>;
}

export function newConnectorCounters(): ConnectorCounters {
  return {
    lookupCount: 0,
    lookedUpTokenCount: 0,
    hitTokenCount: 0,
    loadedChunkCount: 0,
    loadedByteCount: 0,
    storedChunkCount: 0,
    storedByteCount: 0,
    presentChunkCount: 0,
    corruptChunkCount: 0,
    flaws: { header: 0, version: 0, key: 0, cells: 0, length: 0, checksum: 0 },
    failures: {
      lookup: 0,
      'load-deadline': 0,
      read: 0,
      'lease-expired': 0,
      memory: 0,
      'no-space': 0,
      put: 0,
      'save-deadline': 0,
    },
  };
}
