import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { type Address, Fault, formatAddress } from '@tsukimi/base';
import { type InstanceKind, type InstancePool, servesModel } from './core/instance-pool.ts';
import { limits } from './deadlines.ts';
import { readBody, sendJson } from './http-answers.ts';
import { parseInstanceAddress } from './instance-address.ts';
import type { InstanceWatch } from './instance-watch.ts';

export interface AdminOptions {
  readonly pool: InstancePool;
  readonly watch: InstanceWatch;
  /** null: nobody can add instances. */
  readonly adminApiKey: string | null;
}

type Answer = readonly [status: number, body: unknown];

/**
 * `POST /instances/add`, with the checks, statuses and bodies of vLLM's `disagg_proxy_demo.py`, in
 * its order, so that scripts written for it work.
 */
export class InstanceAdmin {
  readonly #options: AdminOptions;

  constructor(options: AdminOptions) {
    this.#options = options;
  }

  add(request: IncomingMessage, response: ServerResponse): void {
    const refusal = this.#refusal(request.headers['x-api-key']);
    if (refusal !== null) {
      request.resume();
      sendJson(response, ...refusal);
      return;
    }
    readBody(request, limits.adminBodyByteCountMax, {
      onBody: (body) => {
        this.#answer(body).then(
          (answer) => sendJson(response, ...answer),
          () => sendJson(response, ...detail(500, 'Internal server error.')),
        );
      },
      onFault: (fault) =>
        sendJson(response, ...detail(fault.httpStatus, fault.message), { connection: 'close' }),
    });
  }

  #refusal(given: string | string[] | undefined): Answer | null {
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
    if (sameText(String(given), adminApiKey)) return null;
    return detail(403, 'Forbidden: Invalid API Key.');
  }

  async #answer(body: Buffer): Promise<Answer> {
    const { pool, watch } = this.#options;
    let fields: unknown;
    try {
      fields = JSON.parse(body.toString('utf8'));
    } catch (error) {
      return detail(500, (error as Error).message);
    }
    const { type, instance } = (fields ?? {}) as { type?: unknown; instance?: unknown };
    if (type !== 'prefill' && type !== 'decode') return detail(400, 'Invalid instance type.');
    if (typeof instance !== 'string' || !instance.includes(':')) {
      return detail(400, 'Invalid instance format.');
    }
    if (instance.split(':').length > 2 && !instance.startsWith('[')) {
      return detail(500, 'too many values to unpack (expected 2)');
    }
    let address: Address;
    try {
      address = parseInstanceAddress(instance, 'instance');
    } catch {
      return detail(400, 'Invalid instance address.');
    }
    try {
      const { modelIds } = await watch.identify({ address: formatAddress(address) });
      if (!servesModel(modelIds, pool.model)) {
        return invalid(`it serves ${modelIds.join(', ') || 'no model'}, not ${pool.model}`);
      }
    } catch (error) {
      return invalid((error as Error).message);
    }
    return await this.#added(type, address, instance);
  }

  async #added(kind: InstanceKind, address: Address, shown: string): Promise<Answer> {
    const { pool, watch } = this.#options;
    try {
      await watch.watch(pool.add(kind, address));
    } catch (error) {
      if (Fault.has(error, 'ALREADY_EXISTS')) return detail(400, 'Instance already exists.');
      if (Fault.has(error, 'OVERLOADED')) return detail(503, error.message);
      throw error;
    }
    return [200, { message: `Added ${shown} to ${kind}_instances.` }];
  }
}

function detail(status: number, text: string): Answer {
  return [status, { detail: text }];
}

/** The demo's body, and beside it what the demo keeps to itself. */
function invalid(reason: string): Answer {
  return [400, { detail: 'Instance validation failed.', reason }];
}

/** Takes the same time wherever the texts differ. */
function sameText(one: string, other: string): boolean {
  const digest = (text: string) => createHash('sha256').update(text).digest();
  return timingSafeEqual(digest(one), digest(other));
}
