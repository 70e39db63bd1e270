import type { Clock, Logger, Random } from '@tsukimi/base';
import { KeyLookup, type MasterPlace, parseMasterAddress, readMasterPlace } from '@tsukimi/store';
import { hashersFor } from './key-layout.ts';
import { StoreHandover } from './store-handover.ts';

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

/** Null where nothing says where the master is, or nobody is to wait. */
export function createStoreHandover(
  settings: StoreHandoverSettings,
  world: StoreHandoverWorld,
): StoreHandover | null {
  const { hashSeed = null, handoverMs: boundMs, connectMs: connectTimeoutMs } = settings;
  const place = masterPlace(settings, world.env);
  if (place === null || boundMs === 0) return null;
  const { clock, logger } = world;
  return new StoreHandover({
    keys: new KeyLookup({ ...place, ...world, connectTimeoutMs }),
    hashers: hashersFor(hashSeed),
    clock,
    logger,
    boundMs,
  });
}

function masterPlace(
  { masterServerAddress: address, mooncakeConfig: path }: StoreHandoverSettings,
  env: StoreHandoverWorld['env'],
): MasterPlace | null {
  const file = path === undefined ? null : readMasterPlace(path, env);
  if (address === undefined) return file;
  return { master: parseMasterAddress(address, env), tenantId: file?.tenantId ?? 'default' };
}
