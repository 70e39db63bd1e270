import type { Clock, Logger, Random } from '@tsukimi/base';
import type { StoreHandover } from './store-handover.ts';

export interface StoreHandoverSettings {
  readonly masterServerAddress?: string | undefined;
  readonly mooncakeConfig?: string | undefined;
  readonly hashSeed?: string | undefined;
  readonly handoverMs: number;
  readonly connectMs: number;
}

export interface StoreHandoverWorld {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** Null where nothing says where the master is, or nobody is to wait; then none of the store is loaded. */
export async function loadStoreHandover(
  settings: StoreHandoverSettings,
  world: StoreHandoverWorld,
): Promise<StoreHandover | null> {
  const { masterServerAddress, mooncakeConfig, handoverMs } = settings;
  if (masterServerAddress === undefined && mooncakeConfig === undefined) return null;
  if (handoverMs === 0) return null;
  const { createStoreHandover } = await import('./create-store-handover.ts');
  return createStoreHandover(settings, world);
}
