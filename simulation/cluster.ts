import { assert, type Random } from '@tsukimi/base';
import { Admission, InstancePool, type Policy, type PoolInstance } from '@tsukimi/proxy';
import { BlockCache } from './block-cache.ts';
import { CostModel } from './cost-model.ts';
import { SimulatedInstance } from './instance.ts';
import { Journey, type Node, type Outcome } from './journey.ts';
import type { Profile } from './profile.ts';
import type { Trace, TraceRequest } from './trace.ts';
import { VirtualClock } from './virtual-clock.ts';

export type StoreKind =
  /** All instances lend their part to one store that each of them can use. */
  | 'shared'
  /** Each instance has its own part to itself; the KV of a prompt goes straight to decode. */
  | 'private'
  /** Nothing but what an instance's own memory keeps. */
  | 'none';

export interface ClusterOptions {
  readonly profile: Profile;
  readonly prefillCount: number;
  readonly decodeCount: number;
  readonly policies: { readonly prefill: Policy; readonly decode: Policy };
  readonly store: StoreKind;
  readonly random: Random;
  readonly inFlightMax: number;
  readonly queueMax: number;
}

interface InstanceTotals {
  readonly kind: 'prefill' | 'decode';
  readonly requestCount: number;
  readonly busyMs: number;
}

export interface Replay {
  readonly outcomes: readonly Outcome[];
  readonly instances: readonly InstanceTotals[];
  /** From the first arrival to the last token. */
  readonly durationMs: number;
}

/** The proxy's pool, policies and admission in front of simulated instances, on a virtual clock. */
export class Cluster {
  readonly #options: ClusterOptions;
  readonly #clock = new VirtualClock();
  readonly #pool: InstancePool;
  readonly #admission: Admission;
  readonly #nodes = new Map<PoolInstance, Node>();
  readonly #sharedStore: BlockCache | null;
  readonly #outcomes: Outcome[] = [];

  constructor(options: ClusterOptions, blockTokens: number) {
    this.#options = options;
    const { profile, prefillCount, decodeCount, policies, random, store } = options;
    this.#admission = new Admission({
      activeCountMax: options.inFlightMax,
      queueLengthMax: options.queueMax,
    });
    const model = profile.name;
    const instanceCount = prefillCount + decodeCount;
    this.#pool = new InstancePool({
      ...{ model, policies, random, clock: this.#clock },
      instanceCountMax: instanceCount,
    });
    const cost = new CostModel(profile);
    const storeBlocks = Math.floor(profile.storeTokensPerInstance / blockTokens);
    this.#sharedStore = store === 'shared' ? new BlockCache(storeBlocks * instanceCount) : null;
    for (let at = 0; at < instanceCount; at++) {
      const kind = at < prefillCount ? 'prefill' : 'decode';
      const member = this.#pool.add(kind, { host: `${kind}-${at}`, port: 1 });
      this.#pool.identified(member, {
        ...{ modelIds: [model], models: [], ours: true, fingerprint: null, tensorParallelSize: 1 },
        ...{ engineId: null, kvRole: null, pd: null },
      });
      this.#nodes.set(member, {
        instance: new SimulatedInstance({ clock: this.#clock, profile, cost, blockTokens }),
        store: store === 'private' ? new BlockCache(storeBlocks) : this.#sharedStore,
      });
    }
  }

  /** Everything that the trace asks for, to its end. */
  replay(trace: Trace): Replay {
    for (const request of trace.requests) {
      this.#clock.schedule(request.atMs, () => this.#arrive(request, trace.blockTokens));
    }
    this.#clock.run();
    this.checkInvariants(trace);
    return {
      outcomes: this.#outcomes,
      instances: [...this.#nodes].map(([{ kind, requestCount }, { instance }]) => ({
        ...{ kind, requestCount, busyMs: instance.busyMs },
      })),
      durationMs: this.#clock.monotonicMs(),
    };
  }

  checkInvariants(trace: Trace): void {
    assert(this.#outcomes.length === trace.requests.length, 'every request ends once');
    assert(this.#admission.activeCount === 0, 'nobody is left inside');
    assert(this.#admission.queueLength === 0, 'nobody is left waiting');
    this.#pool.checkInvariants();
    for (const [member, { instance }] of this.#nodes) {
      assert(member.activeRequestCount === 0, 'the proxy sees no request that has ended');
      assert(instance.idle, 'no instance is left with work');
      assert(instance.endedCount === member.requestCount, 'each leg ends once');
      assert(instance.busyMs <= this.#clock.monotonicMs() + 1e-6, 'nobody works twice at once');
    }
  }

  #arrive(request: TraceRequest, blockTokens: number): void {
    const journey = new Journey(request, {
      ...{ clock: this.#clock, pool: this.#pool, hopMs: this.#options.profile.hopMs },
      ...{ blockTokens, nodes: this.#nodes, sharedStore: this.#sharedStore },
      onEnd: (outcome) => {
        this.#outcomes.push(outcome);
        if (outcome.end === 'answered') this.#admission.leave();
      },
    });
    if (this.#admission.enter('', journey) === 'full') journey.pushOut();
  }
}
