/**
 * The prefill/decode proxy: `createProxy` gives the services of one process, `proxyOptions` its
 * command line. The core (pool, policies, plan of a request) is pure and runs in a simulator too.
 */
export { Admission, type Waiter } from './core/admission.ts';
export type { Identity } from './core/identity.ts';
export { Assignment } from './core/instance-load.ts';
export { InstancePool, type InstancePoolOptions, type PoolEvent } from './core/instance-pool.ts';
export { defaultPolicyName, type PolicyName, policies } from './core/policies/by-name.ts';
export type {
  Candidate,
  Choice,
  Policy,
  RequestFacts,
  Snapshot,
  Work,
} from './core/policies/policy.ts';
export type {
  AttemptOutcome,
  Endpoint,
  FailureReason,
  InstanceKind,
  InstanceState,
  PoolInstance,
} from './core/pool-instance.ts';
export { loadPolicies } from './load-policies.ts';
export { type ProxyOptions, proxyOptions } from './options.ts';
export type { Peers, PeerTopic } from './peers.ts';
export { assembleProxy, createProxy, type Proxy, type ProxyParts } from './proxy.ts';
export { loadTracer } from './telemetry/load-tracer.ts';
