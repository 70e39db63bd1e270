import { Ending, Fault, type Service } from '@tsukimi/base';
import { Child, type ChildOptions } from './child.ts';
import type { ClusterPlan } from './cluster-plan.ts';

export interface SupervisorOptions extends Omit<ChildOptions, 'plan' | 'logPath' | 'onChange'> {
  readonly cluster: ClusterPlan;
  readonly logPathOf: (child: string) => string;
  /** The last thing a child wrote, to say why it refused to start. */
  readonly lastWordsOf: (child: string) => string;
  readonly readyWithinMs: number;
  /** Ends the wait for children that are not ready; `stop` follows. */
  readonly until: AbortSignal;
  /** Called on each change of a child's state once all have been ready. */
  readonly onChange: (child: Child) => void;
}

/** Starts all processes of the cluster, waits until all are ready, keeps them alive, and stops them in reverse order. */
export class Supervisor implements Service {
  readonly name = 'up';
  readonly children: readonly Child[];
  readonly #options: SupervisorOptions;
  readonly #ending = new Ending();
  #onStartChange: (() => void) | null = null;

  constructor(options: SupervisorOptions) {
    this.#options = options;
    this.children = options.cluster.children.map((plan) => {
      const child: Child = new Child({
        ...options,
        plan,
        logPath: options.logPathOf(plan.name),
        onChange: () => {
          if (this.#onStartChange !== null) this.#onStartChange();
          else options.onChange(child);
        },
      });
      return child;
    });
  }

  async start(): Promise<void> {
    try {
      await this.#startAll();
    } catch (error) {
      await this.stop(AbortSignal.abort());
      throw error;
    }
  }

  #startAll(): Promise<void> {
    const { clock, readyWithinMs, until } = this.#options;
    // Nothing depends on the order; but a proxy that starts last is ready with every instance in use.
    const others = this.children.slice(0, -1);
    const proxy = this.children.at(-1);
    let proxyIsStarted = false;
    return new Promise((resolve, reject) => {
      const finish = (error?: Fault) => {
        limit.cancel();
        until.removeEventListener('abort', giveUp);
        this.#onStartChange = null;
        if (error === undefined) resolve();
        else reject(error);
      };
      const giveUp = () => finish();
      until.addEventListener('abort', giveUp, { once: true });
      const limit = clock.schedule(readyWithinMs, () => {
        const late = this.children.filter(({ state }) => state.state !== 'ready');
        const names = late.map(({ plan }) => plan.name).join(', ');
        const words = this.#options.lastWordsOf(late[0]?.plan.name ?? '');
        finish(
          new Fault(
            'DEADLINE_PASSED',
            `not ready after ${readyWithinMs / 1_000} s: ${names}. ${words}`,
          ),
        );
      });
      this.#onStartChange = () => {
        const refused = this.children.find(({ state }) => state.state === 'refused');
        if (refused !== undefined) {
          finish(new Fault('MISCONFIGURED', this.#options.lastWordsOf(refused.plan.name)));
        } else if (this.children.every(({ state }) => state.state === 'ready')) finish();
        else if (!proxyIsStarted && others.every(({ state }) => state.state === 'ready')) {
          proxyIsStarted = true;
          proxy?.start();
        }
      };
      for (const child of others) child.start();
    });
  }

  ended(): Promise<void> {
    return this.#ending.promise;
  }

  /** The proxy first, so that no request is sent to an instance that is leaving. */
  async stop(deadline: AbortSignal): Promise<void> {
    const [metadata, master, ...rest] = this.children;
    const proxy = rest.pop();
    for (const group of [[proxy], rest, [master], [metadata]]) {
      const present = group.filter((child) => child !== undefined);
      await Promise.all(present.map((child) => child.stop(deadline)));
    }
    this.#ending.stopped();
  }
}
