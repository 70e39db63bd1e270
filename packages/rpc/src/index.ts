/**
 * coro_rpc over sockets: `RpcServer` serves a protocol table of `@tsukimi/wire`, `RpcClient` calls it.
 * Both pipeline, keep deadlines and limits, and survive anything a peer may send.
 */
export { type RpcCallOptions, RpcClient, type RpcClientOptions } from './client.ts';
export { PeerReleases, type ReleaseTable } from './peer-releases.ts';
export {
  type AnswerGate,
  type Handlers,
  type Peer,
  RpcServer,
  type RpcServerLimits,
  type RpcServerOptions,
} from './server.ts';
