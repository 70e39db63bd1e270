import { setImmediate } from 'node:timers/promises';
import { ErrorCode, errorName, type GetReplicaListResponse } from '@tsukimi/wire';
import { Hono } from 'hono';
import type { MasterCore } from '../core/master-core.ts';
import { piecesOf } from '../core/pieces.ts';
import { plainText, refusal } from './admin-answers.ts';

/** So many keys at most in one question. */
const batchCountMax = 10_000;
const linesInPiece = 4_096;

type Location = GetReplicaListResponse['replicas'][number]['location'];
type LocationOf<K extends Location['kind']> = Extract<Location, { readonly kind: K }>;

/** Where objects lie, at the paths and in the bodies of Mooncake. */
export function keyRoutes(core: MasterCore): Hono {
  const app = new Hono();
  app.get('/query_key', (context) => {
    const found = core.find(context.req.query('key') ?? '');
    if ('error' in found) return refusal(context, found.error, errorName(found.error), 404);
    return context.json({
      success: true,
      data: locationsOf(found.ok, 'memory').map(describeBuffer),
    });
  });
  app.get('/batch_query_keys', (context) => {
    const given = context.req.query('keys') ?? '';
    if (given === '') {
      const error = 'No keys provided. Use ?keys=key1,key2,...';
      return context.json({ success: false, error }, 400);
    }
    const keys = [...new Set(given.split(','))].toSorted(compareBytes);
    if (keys.length > batchCountMax) {
      const reason = `At most ${batchCountMax} keys at a time`;
      return refusal(context, ErrorCode.INVALID_PARAMS, reason);
    }
    const data = Object.fromEntries(keys.map((key) => [key, describe(core.peek(key))]));
    return context.json({ success: true, data });
  });
  app.get('/get_all_keys', (context) => plainText(context, lines(core.readableKeys())));
  return app;
}

function describe(found: ReturnType<MasterCore['peek']>): object {
  const replicas = 'ok' in found ? found.ok : null;
  return {
    ok: 'ok' in found,
    error: 'ok' in found ? null : errorName(found.error),
    values: replicas && locationsOf(replicas, 'memory').map(describeBuffer),
    disk_values: replicas && orNull(locationsOf(replicas, 'disk').map(describeFile)),
    local_disk_values: replicas && orNull(locationsOf(replicas, 'localDisk').map(describeDisk)),
    nof_values: null,
  };
}

function locationsOf<K extends Location['kind']>(
  { replicas }: GetReplicaListResponse,
  kind: K,
): LocationOf<K>[] {
  return replicas
    .map(({ location }) => location)
    .filter((location): location is LocationOf<K> => location.kind === kind);
}

/** Addresses of user space are below 2^53: a number holds them. */
function describeBuffer({ buffer }: LocationOf<'memory'>): object {
  return {
    size_: buffer.size,
    buffer_address_: Number(buffer.bufferAddress),
    protocol_: buffer.protocol,
    transport_endpoint_: buffer.transportEndpoint,
  };
}

function describeFile({ filePath, objectSize }: LocationOf<'disk'>): object {
  return { file_path: filePath, object_size: objectSize };
}

function describeDisk(location: LocationOf<'localDisk'>): object {
  return {
    client_id: location.clientId,
    object_size: location.objectSize,
    transport_endpoint: location.transportEndpoint,
  };
}

function orNull<T>(values: readonly T[]): readonly T[] | null {
  return values.length === 0 ? null : values;
}

function compareBytes(one: string, other: string): number {
  return Buffer.compare(Buffer.from(one), Buffer.from(other));
}

/** Made as fast as it is read, and not at one go where that is fast. */
function lines(texts: Iterable<string>): ReadableStream<Uint8Array> {
  const pieces = piecesOf(texts, linesInPiece);
  return new ReadableStream({
    async pull(controller) {
      await setImmediate();
      const { value, done } = pieces.next();
      if (done === true) controller.close();
      else controller.enqueue(Buffer.from(value.map((text) => `${text}\n`).join('')));
    },
  });
}
