import type { Handlers } from '@tsukimi/rpc';
import { ErrorCode, type MasterProtocol } from '@tsukimi/wire';
import { defaultTenant, isTenantName } from '../core/tenant-table.ts';

type Name = keyof MasterProtocol;
type Handler = (args: readonly unknown[], ...rest: readonly unknown[]) => unknown;

/** Where the tenant stands among the arguments, and where the keys of a batch do. */
interface Place {
  readonly tenant: number;
  readonly keys?: number;
  /** Whether a caller must say who it is, as for all that takes memory. */
  readonly isWrite?: boolean;
}

const places: Partial<Record<Name, Place>> = {
  ExistKey: { tenant: 1 },
  BatchExistKey: { tenant: 1, keys: 0 },
  GetReplicaList: { tenant: 1 },
  BatchGetReplicaList: { tenant: 1, keys: 0 },
  GetReplicaListByRegex: { tenant: 1 },
  PutStart: { tenant: 4, isWrite: true },
  PutEnd: { tenant: 3 },
  PutRevoke: { tenant: 3 },
  BatchPutStart: { tenant: 4, keys: 1, isWrite: true },
  BatchPutEnd: { tenant: 3, keys: 1 },
  BatchPutRevoke: { tenant: 3, keys: 1 },
  UpsertStart: { tenant: 4, isWrite: true },
  UpsertEnd: { tenant: 3 },
  UpsertRevoke: { tenant: 3 },
  BatchUpsertStart: { tenant: 4, keys: 1, isWrite: true },
  BatchUpsertEnd: { tenant: 2, keys: 1 },
  BatchUpsertRevoke: { tenant: 2, keys: 1 },
  Remove: { tenant: 2 },
  BatchRemove: { tenant: 2, keys: 0 },
  RemoveByRegex: { tenant: 2 },
  EvictDiskReplica: { tenant: 2 },
  BatchEvictDiskReplica: { tenant: 2, keys: 1 },
  PromotionAllocStart: { tenant: 2, isWrite: true },
  NotifyPromotionSuccess: { tenant: 2 },
  NotifyPromotionFailure: { tenant: 2 },
  CopyStart: { tenant: 2 },
  CopyEnd: { tenant: 2 },
  CopyRevoke: { tenant: 2 },
  MoveStart: { tenant: 2 },
  MoveEnd: { tenant: 2 },
  MoveRevoke: { tenant: 2 },
  CreateCopyTask: { tenant: 1 },
  CreateMoveTask: { tenant: 1 },
  BatchReplicaClear: { tenant: 3 },
  ProbeKey: { tenant: 1 },
  BatchProbeKey: { tenant: 2, keys: 1 },
  GetReplicaListForAdmin: { tenant: 1 },
  BatchGetReplicaListForAdmin: { tenant: 1, keys: 0 },
  RegisterPrefetchTask: { tenant: 2 },
};

/** Handlers that refuse callers whose tenant has no name, or one that no tenant can have. */
export function guardTenants(handlers: Handlers<MasterProtocol>): Handlers<MasterProtocol> {
  const guarded: Record<string, Handler> = { ...(handlers as unknown as Record<string, Handler>) };
  for (const [name, place] of Object.entries(places)) {
    const handler = guarded[name] as Handler;
    guarded[name] = (args, ...rest) => {
      const tenant = args[place.tenant] as string;
      if (isTenantName(tenant)) return handler(args, ...rest);
      if (tenant === '' && place.isWrite !== true) {
        return handler(args.with(place.tenant, defaultTenant), ...rest);
      }
      const error = place.isWrite ? ErrorCode.TENANT_NOT_REGISTERED : ErrorCode.INVALID_PARAMS;
      if (place.keys === undefined) return { error };
      const keys = args[place.keys] as readonly unknown[];
      const byteCounts = args[place.keys + 1] as readonly unknown[];
      const isEven = place.isWrite !== true || byteCounts.length === keys.length;
      return keys.map(() => ({ error: isEven ? error : ErrorCode.INVALID_PARAMS }));
    };
  }
  return guarded as unknown as Handlers<MasterProtocol>;
}
