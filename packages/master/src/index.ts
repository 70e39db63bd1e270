/**
 * The master: which objects exist, where their copies lie, who may read, write and remove them, and
 * which must go. `MasterCore` decides, `createMaster` puts servers around it.
 */
export { type CoreOptions, defaultCoreOptions } from './core/core-options.ts';
export { MasterCore, type MasterCoreOptions, type Sweep } from './core/master-core.ts';
export type { KeyMatcher } from './core/object-walker.ts';
export type { SegmentView } from './core/segment-view.ts';
export { keyMatcher } from './key-matcher.ts';
export { assembleMaster, createMaster, type Master, type MasterPorts } from './master.ts';
export { type MasterOptions, masterOptions } from './options.ts';
