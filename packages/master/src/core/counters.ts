import { Histogram } from './histogram.ts';

/** What happened since the start; only the core adds to it. */
export class Counters {
  lookups = 0;
  /** Look-ups whose first copy lies in memory, and in a file. */
  memoryHits = 0;
  memoryHitByteCount = 0;
  fileHits = 0;
  fileHitByteCount = 0;
  /** Objects that were read so often that they should lie in one more place. */
  hotObjects = 0;
  allocationFailures = 0;
  partialAllocations = 0;
  /** Unfinished writes that somebody else took over. */
  takenOver = 0;
  /** Unfinished writes of writers known dead, and of writers that had all their time. */
  reclaimed = 0;
  /** Replicas whose bytes returned after being set aside. */
  released = 0;
  evictionAttempts = 0;
  evictionSuccesses = 0;
  evictedObjects = 0;
  evictedByteCount = 0;
  expiredClients = 0;

  /** Bytes of the objects whose writes ended. */
  readonly valueSizes = new Histogram([
    4_096, 65_536, 262_144, 1_048_576, 4_194_304, 16_777_216, 67_108_864,
  ]);

  /** Objects on their way from a disk back to memory. */
  readonly promotions = {
    admitted: 0,
    completed: 0,
    completedByteCount: 0,
    cancelled: 0,
    expired: 0,
    failed: 0,
    rejectedCap: 0,
    rejectedFrequency: 0,
    rejectedWatermark: 0,
  };
  /** Objects that wait for room to be promoted. */
  readonly candidates = {
    recorded: 0,
    admitted: 0,
    admissionRejected: 0,
    droppedLimit: 0,
    expiredEvaluated: 0,
    expiredUnevaluated: 0,
  };
}
