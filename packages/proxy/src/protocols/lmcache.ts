import type { PdProtocol } from './protocol.ts';
import { store } from './store.ts';

/** LMCache with a shared backend: as any store. (Its own transfer between instances is not spoken.) */
export const lmcache: PdProtocol = { ...store, name: 'lmcache' };
