/**
 * The prefill/decode proxy: `createProxy` gives the services of one process, `proxyOptions` its
 * command line. The core (pool, policies, plan of a request) is pure and runs in a simulator too.
 */
export {
  type FailureReason,
  type Identity,
  type InstanceKind,
  InstancePool,
  type InstancePoolOptions,
  type InstanceState,
  type PoolInstance,
} from './core/instance-pool.ts';
export {
  type Candidate,
  leastLoad,
  type Policy,
  type PolicyName,
  policies,
  roundRobin,
  type Snapshot,
} from './core/policies.ts';

export { type ProxyOptions, proxyOptions } from './options.ts';
export { assembleProxy, createProxy, type Proxy, type ProxyParts } from './proxy.ts';
