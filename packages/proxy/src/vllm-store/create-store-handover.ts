import { KeyLookup, type MasterPlace, parseMasterAddress, readMasterPlace } from '@tsukimi/store';
import { hashersFor } from './key-layout.ts';
import type { StoreHandoverSettings, StoreHandoverWorld } from './load-store-handover.ts';
import { StoreHandover } from './store-handover.ts';

/** Null where nothing says where the master is. */
export function createStoreHandover(
  settings: StoreHandoverSettings,
  world: StoreHandoverWorld,
): StoreHandover | null {
  const { hashSeed = null, handoverMs: boundMs, connectMs: connectTimeoutMs } = settings;
  const place = masterPlace(settings, world.env);
  if (place === null) return null;
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
