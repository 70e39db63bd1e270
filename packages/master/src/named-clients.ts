import type { Handlers, Peer } from '@tsukimi/rpc';
import type { MasterProtocol, Uuid } from '@tsukimi/wire';

/** At which place of its arguments a call names the client that makes it. */
const places = {
  0: `PutStart PutEnd PutRevoke BatchPutStart BatchPutEnd BatchPutRevoke UpsertStart UpsertEnd UpsertRevoke
    BatchUpsertStart BatchUpsertEnd BatchUpsertRevoke Ping FetchTasks MarkTaskToComplete PollRemoveAll
    MountLocalDiskSegment UnmountLocalDiskSegment OffloadObjectHeartbeat ReportSsdCapacity
    NotifyOffloadSuccess EvictDiskReplica BatchEvictDiskReplica PromotionObjectHeartbeat
    PromotionAllocStart NotifyPromotionSuccess NotifyPromotionFailure CopyStart CopyEnd CopyRevoke
    DynamicReplicaCopyStart DynamicReplicaCopyEnd DynamicReplicaCopyRevoke MoveStart MoveEnd MoveRevoke`,
  1: 'MountSegment ReMountSegment UnmountSegment GracefulUnmountSegment BatchReplicaClear',
} as const;

type Handler = (args: readonly unknown[], peer: Peer) => unknown;

/** Handlers that first tell which client called, for all calls that name it. */
export function tellingClients(
  handlers: Handlers<MasterProtocol>,
  shown: (peer: Peer, client: Uuid) => void,
): Handlers<MasterProtocol> {
  const telling: Record<string, unknown> = { ...handlers };
  for (const [place, names] of Object.entries(places)) {
    const index = Number(place);
    for (const name of names.split(/\s+/)) {
      const handler = telling[name] as Handler;
      telling[name] = (args: readonly unknown[], peer: Peer) => {
        shown(peer, args[index] as Uuid);
        return handler(args, peer);
      };
    }
  }
  return telling as unknown as Handlers<MasterProtocol>;
}
