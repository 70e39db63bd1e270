import { Fault, formatAddress, sameSecret } from '@tsukimi/base';
import type { ServerRequest, ServerResponse } from '@tsukimi/http';
import type { InstancePool } from '../core/instance-pool.ts';
import type { Endpoint, InstanceKind, PoolInstance } from '../core/pool-instance.ts';
import { type Deadlines, limits } from '../deadlines.ts';
import { readBody, sendJson } from '../http-answers.ts';
import type { Peers } from '../peers.ts';
import { type AdminCall, type Answer, detail, parseAdminCall } from './admin-call.ts';
import type { Membership } from './membership.ts';

export interface AdminOptions {
  readonly pool: InstancePool;
  readonly membership: Membership;
  readonly deadlines: Deadlines;
  /** null: nobody can change who is there. */
  readonly adminApiKey: string | null;
  /** They do the same. */
  readonly peers: Peers;
}

interface Told {
  readonly path: string;
  readonly body: string;
}

type Handler = (request: ServerRequest, response: ServerResponse) => void;

/**
 * `POST /instances/add`, with the checks, statuses and bodies of vLLM's `disagg_proxy_demo.py`, in its
 * order, so that scripts written for it work; `/instances/remove` and lists of instances as
 * vllm-ascend's load-balancing proxy has them; `/instances/drain` and `/instances/role`, which are ours.
 * All but a demo's second add can be repeated without harm.
 */
export class InstanceAdmin {
  readonly routes: Readonly<Record<string, { readonly POST: Handler }>>;
  readonly #options: AdminOptions;

  constructor(options: AdminOptions) {
    this.#options = options;
    this.routes = {
      '/instances/add': this.#route('/instances/add'),
      '/instances/remove': this.#route('/instances/remove'),
      '/instances/drain': this.#route('/instances/drain'),
      '/instances/role': this.#route('/instances/role'),
    };
    options.peers.onTold('admin', (value) => {
      const { path, body } = value as Told;
      // Where it cannot be done here, who called has been told how it went there.
      this.#answer(path, Buffer.from(body)).catch(() => {});
    });
  }

  /** For `/status`. */
  facts(instance: PoolInstance): object {
    return { source: this.#options.membership.sourceOf(instance) };
  }

  async #answer(path: string, body: Buffer): Promise<Answer> {
    const needsKind = path === '/instances/add' || path === '/instances/role';
    const call = parseAdminCall(body, needsKind);
    if (!('endpoints' in call)) return call;
    switch (path) {
      case '/instances/add':
        return await this.#add(call);
      case '/instances/remove':
        return this.#remove(call);
      case '/instances/drain':
        return this.#drain(call);
      default:
        return this.#setKind(call);
    }
  }

  #route(path: string): { readonly POST: Handler } {
    const POST: Handler = (request, response) => {
      const refusal = this.#refusal(request.headers['x-api-key']);
      if (refusal !== null) {
        request.resume();
        sendJson(response, ...refusal);
        return;
      }
      readBody(request, limits.adminBodyByteCountMax, {
        onBody: (body) => {
          this.#answer(path, body).then(
            (given) => {
              if (given[0] === 200) {
                this.#options.peers.tell('admin', { path, body: body.toString() });
              }
              sendJson(response, ...given);
            },
            () => sendJson(response, ...detail(500, 'Internal server error.')),
          );
        },
        onFault: (fault) =>
          sendJson(response, ...detail(fault.httpStatus, fault.message), { connection: 'close' }),
      });
    };
    return { POST };
  }

  #refusal(given: string | undefined): Answer | null {
    if (given === undefined) {
      const missing = {
        type: 'missing',
        loc: ['header', 'x-api-key'],
        msg: 'Field required',
        input: null,
      };
      return [422, { detail: [missing] }];
    }
    const { adminApiKey } = this.#options;
    if (adminApiKey === null) return detail(500, 'Server configuration error.');
    if (sameSecret(given, adminApiKey)) return null;
    return detail(403, 'Forbidden: Invalid API Key.');
  }

  async #add(call: AdminCall): Promise<Answer> {
    const { kind } = call;
    if (kind === null) return detail(400, 'Invalid instance type.');
    if (call.ttlMs !== null) return await this.#register(kind, call, call.ttlMs);
    if (call.listed) return await this.#addAll(kind, call.endpoints);
    const [endpoint] = call.endpoints;
    if (endpoint === undefined) return detail(400, 'Invalid instance format.');
    const known = this.#find(endpoint, kind)[0];
    if (known?.draining === true) this.#options.membership.keep(known);
    else {
      try {
        await this.#options.membership.check(kind, endpoint);
        await this.#options.membership.add(kind, endpoint, 'admin');
      } catch (error) {
        return refused(error);
      }
    }
    return [200, { message: `Added ${call.shown} to ${kind}_instances.` }];
  }

  /** Who cannot be reached yet is asked until it answers; who serves something else is refused. */
  async #addAll(kind: InstanceKind, endpoints: readonly Endpoint[]): Promise<Answer> {
    const { membership } = this.#options;
    const waiting: string[] = [];
    for (const endpoint of endpoints) {
      const known = this.#find(endpoint, kind)[0];
      if (known !== undefined) {
        membership.keep(known);
        continue;
      }
      try {
        await membership.check(kind, endpoint);
      } catch (error) {
        if (!Fault.has(error, 'PEER_UNREACHABLE')) return refused(error);
        waiting.push(formatAddress(endpoint));
      }
      try {
        await membership.add(kind, endpoint, 'admin');
      } catch (error) {
        // Somebody else added it meanwhile.
        if (!Fault.has(error, 'ALREADY_EXISTS')) return refused(error);
      }
    }
    const shown = endpoints.map(formatAddress).join(', ');
    const message =
      waiting.length > 0
        ? `Instances ${waiting.join(', ')} are waiting to be added.`
        : `Added ${shown} to ${kind}_instances.`;
    return this.#listed(message);
  }

  async #register(kind: InstanceKind, call: AdminCall, ttlMs: number): Promise<Answer> {
    const [endpoint] = call.endpoints;
    if (endpoint === undefined || call.endpoints.length > 1) {
      return detail(400, 'Invalid instance format.');
    }
    try {
      const { instance, joined } = await this.#options.membership.register(kind, endpoint, ttlMs);
      const what = joined ? 'Added' : 'Renewed';
      const where = `${joined ? 'to' : 'in'} ${instance.kind}_instances.`;
      return [200, { message: `${what} ${instance.address} ${where}`, type: instance.kind }];
    } catch (error) {
      return refused(error);
    }
  }

  #remove(call: AdminCall): Answer {
    return this.#each(call, 'Removed', (one) => this.#options.membership.remove(one));
  }

  #drain(call: AdminCall): Answer {
    const withinMs = call.deadlineMs ?? this.#options.deadlines.drainMs;
    return this.#each(call, 'Draining', (one) => this.#options.membership.drain(one, withinMs));
  }

  #setKind(call: AdminCall): Answer {
    const { kind, endpoints } = call;
    if (kind === null) return detail(400, 'Invalid instance type.');
    const found: PoolInstance[] = [];
    for (const endpoint of endpoints) {
      const instance = this.#find(endpoint, kind)[0] ?? this.#find(endpoint)[0];
      if (instance === undefined) {
        return detail(404, `Instance not found: ${formatAddress(endpoint)}.`);
      }
      found.push(instance);
    }
    try {
      this.#options.membership.setKind(found, kind);
    } catch (error) {
      return [400, { detail: 'Instance cannot change its role.', reason: reasonOf(error) }];
    }
    const shown = found.map(({ address }) => address).join(', ');
    return this.#listed(`Moved ${shown} to ${kind}_instances.`);
  }

  #each(call: AdminCall, what: string, act: (instance: PoolInstance) => void): Answer {
    const messages = call.endpoints.map((endpoint) => {
      const address = formatAddress(endpoint);
      const found = this.#find(endpoint, call.kind ?? undefined);
      const kinds = found.map(({ kind }) => `${kind}_instances`).join(' and ');
      for (const instance of found) act(instance);
      const absent = call.kind === null ? 'the instances' : `${call.kind}_instances`;
      return found.length === 0
        ? `${address} is not among ${absent}.`
        : `${what} ${address} from ${kinds}.`;
    });
    return this.#listed(messages.join(' '));
  }

  #find(endpoint: Endpoint, kind?: InstanceKind): PoolInstance[] {
    return this.#options.membership.find(formatAddress(endpoint), kind);
  }

  #listed(message: string): Answer {
    const addresses = (kind: InstanceKind) =>
      this.#options.pool.instances
        .filter((one) => one.kind === kind && !one.draining)
        .map(({ address }) => address);
    return [
      200,
      {
        message,
        current_prefill_instances: addresses('prefill'),
        current_decode_instances: addresses('decode'),
      },
    ];
  }
}

/** The demo's body, and beside it what the demo keeps to itself. */
function refused(error: unknown): Answer {
  if (Fault.has(error, 'ALREADY_EXISTS')) return detail(400, 'Instance already exists.');
  if (Fault.has(error, 'OVERLOADED')) return detail(503, error.message);
  if (Fault.has(error, 'UNAUTHORIZED')) {
    return [409, { detail: 'Instance was removed.', reason: error.message }];
  }
  if (!Fault.has(error, 'MISCONFIGURED', 'PEER_UNREACHABLE')) throw error;
  return [400, { detail: 'Instance validation failed.', reason: error.message }];
}

function reasonOf(error: unknown): string {
  if (Fault.has(error, 'INVALID_ARGUMENT')) return error.message;
  throw error;
}
