import type { Identity } from '../src/core/identity.ts';

/** Of an instance of ours that serves the model "m" and has no fixed role. */
export const identity: Identity = {
  modelIds: ['m'],
  models: [],
  ours: true,
  fingerprint: 'f',
  tensorParallelSize: 1,
  engineId: 'e',
  kvRole: null,
  pd: null,
};
