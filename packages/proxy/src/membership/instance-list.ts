import { Fault, formatAddress } from '@tsukimi/base';
import { parse as parseYaml } from 'yaml';
import { z } from 'zod';
import type { Endpoint, InstanceKind } from '../core/pool-instance.ts';
import { parseEndpoints } from './endpoints.ts';
import { pdFieldNames, pdHintIn } from './pd-fields.ts';

export interface ListedInstance {
  readonly kind: InstanceKind;
  readonly endpoint: Endpoint;
}

const kinds = ['prefill', 'decode'] as const;
const text = z.string().max(1_024);
const entries = z
  .array(z.union([text, z.looseObject({ instance: text })], { error: 'is no instance' }))
  .max(1_024)
  .nullish();
const listFile = z.strictObject({ prefill: entries, decode: entries });

/**
 * The instances of a file, YAML or JSON: `prefill` and `decode`, each a list of texts as `--prefill` takes
 * them, or of objects: such a text as `instance`, and beside it how it hands over, in the fields of
 * `/instances/add`. Throws `INVALID_ARGUMENT` with the field; `where` names the file.
 */
export function instancesIn(text: string, where: string): ListedInstance[] {
  const refuse = (reason: string) => new Fault('INVALID_ARGUMENT', `${where}: ${reason}`);
  let document: unknown;
  try {
    document = parseYaml(text);
  } catch (error) {
    throw refuse((error as Error).message);
  }
  // A file that is being written is empty for a moment; nobody at all is said with {}.
  if (document == null) throw refuse('is empty; for no instances, write {}');
  const parsed = listFile.safeParse(document);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw refuse(`${issue?.path.join('.') ?? ''}: ${issue?.message ?? ''}`);
  }
  const listed = kinds.flatMap((kind) =>
    (parsed.data[kind] ?? []).flatMap((entry, at) =>
      endpointsOf(entry, `${where}: ${kind}.${at}`).map((endpoint) => ({ kind, endpoint })),
    ),
  );
  const seen = new Set<string>();
  for (const { kind, endpoint } of listed) {
    const name = `${kind}: ${formatAddress(endpoint)}`;
    if (seen.has(name)) throw refuse(`${name} is there twice`);
    seen.add(name);
  }
  return listed;
}

function endpointsOf(
  entry: string | { readonly instance: string; readonly [field: string]: unknown },
  what: string,
): Endpoint[] {
  if (typeof entry === 'string') return parseEndpoints(entry, what);
  const { instance, ...fields } = entry;
  const unknown = Object.keys(fields).find((name) => !pdFieldNames.includes(name));
  if (unknown !== undefined) {
    const reason = `${what}.${unknown}: is none of instance, ${pdFieldNames.join(', ')}`;
    throw new Fault('INVALID_ARGUMENT', reason);
  }
  const pd = pdHintIn(fields);
  if (typeof pd === 'string') throw new Fault('INVALID_ARGUMENT', `${what}.${pd}`);
  const endpoints = parseEndpoints(instance, `${what}.instance`);
  return pd === null ? endpoints : endpoints.map((one) => ({ ...one, pd }));
}
