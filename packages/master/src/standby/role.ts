import type { MasterView } from '@tsukimi/metadata';

/** Where a master stands, in the words of Mooncake's admin server. */
export type RoleState = 'starting' | 'standby' | 'candidate' | 'recovering' | 'serving';

export interface Role {
  readonly state: RoleState;
  /** Who leads, as far as is known; null without several masters. */
  readonly leader: MasterView | null;
}

/** A master without others always leads and serves. */
export const alone: Role = { state: 'serving', leader: null };

export function roleName({ state }: Role): 'leader' | 'standby' {
  return state === 'serving' ? 'leader' : 'standby';
}
