import type { Address } from '@tsukimi/base';
import { Cluster, Redis } from 'ioredis';
import type { RedisAddress } from './metadata-address.ts';

const connectTimeoutMs = 1_000;
const reconnectMaxMs = 1_000;

/** A client that connects when it is first asked. */
export function redisClientFor(address: RedisAddress): Redis | Cluster {
  const retryPauseMs = (attempt: number) =>
    Math.min(reconnectMaxMs, 50 * 2 ** Math.min(attempt, 8));
  const common = {
    // RESP3 opens with a greeting that old servers and proxies do not know.
    protocol: 2 as const,
    ...(address.login === null || address.login.username === ''
      ? {}
      : { username: address.login.username }),
    ...(address.login === null ? {} : { password: address.login.password }),
    ...(address.tls ? { tls: {} } : {}),
    connectTimeout: connectTimeoutMs,
    keepAlive: 10_000,
    disableClientInfo: true,
  };
  const single = {
    ...common,
    db: address.database,
    lazyConnect: true,
    // A call made while the server is away fails after two attempts to reach it, not after twenty.
    maxRetriesPerRequest: 1,
    retryStrategy: retryPauseMs,
  };
  switch (address.topology) {
    case 'single': {
      const [endpoint] = address.endpoints as readonly [Address];
      return new Redis({ ...single, host: endpoint.host, port: endpoint.port });
    }
    case 'sentinel':
      return new Redis({
        ...single,
        sentinels: [...address.endpoints],
        name: address.groupName as string,
        sentinelRetryStrategy: retryPauseMs,
        ...(address.tls ? { enableTLSForSentinelMode: true } : {}),
        // A server that has become a replica refuses writes: ask the sentinels again.
        reconnectOnError: (error) => (error.message.startsWith('READONLY') ? 2 : false),
      });
    case 'cluster': {
      return new Cluster([...address.endpoints], {
        lazyConnect: true,
        redisOptions: common,
        clusterRetryStrategy: retryPauseMs,
      });
    }
  }
}
