import type { LeaderBoard, LeaderBoardOptions } from './leader-board.ts';

/** Connects when it is first asked. */
export async function openLeaderBoard(options: LeaderBoardOptions): Promise<LeaderBoard> {
  const { address } = options;
  if (address.kind === 'etcd') {
    const { EtcdLeaderBoard } = await import('./etcd-leader-board.ts');
    return new EtcdLeaderBoard({ ...options, address });
  }
  const { RedisLeaderBoard } = await import('./redis-leader-board.ts');
  return new RedisLeaderBoard({ ...options, address });
}
