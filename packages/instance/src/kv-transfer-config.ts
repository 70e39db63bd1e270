import { Fault } from '@tsukimi/base';
import { z } from 'zod';

/** A producer stores what it computes, a consumer only loads, `kv_both` stores its output too. */
export const kvRoles = ['kv_producer', 'kv_consumer', 'kv_both'] as const;
export type KvRole = (typeof kvRoles)[number];

export interface KvTransferConfig {
  readonly role: KvRole;
  /** Fields that were given and mean nothing here. */
  readonly ignoredFields: readonly string[];
}

/** The connector of vLLM's guide, which is the only one there is here. */
const connectorName = 'MooncakeStoreConnector';

const flag = '--kv-transfer-config';
const schema = z.looseObject({
  kv_connector: z.string(),
  kv_role: z.enum(kvRoles),
});

/** The option as a whole, and its two fields alone, which win over those of the whole. */
export interface KvTransferOptions {
  readonly kvTransferConfig?: string | undefined;
  readonly kvConnector?: string | undefined;
  readonly kvRole?: string | undefined;
}

/** Reads vLLM's JSON object; null when the instance is to share nothing. Faults name the field. */
export function parseKvTransferConfig(options: KvTransferOptions): KvTransferConfig | null {
  const { kvTransferConfig: text, kvConnector, kvRole } = options;
  if (text === undefined && kvConnector === undefined && kvRole === undefined) return null;
  const value: unknown = {
    ...parseObject(text ?? '{}'),
    ...(kvConnector === undefined ? {} : { kv_connector: kvConnector }),
    ...(kvRole === undefined ? {} : { kv_role: kvRole }),
  };
  const parsed = schema.safeParse(value);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    const field = issue?.path.join('.') ?? '';
    const choice = field === 'kv_role' ? `must be one of ${kvRoles.join(', ')}` : issue?.message;
    throw new Fault('INVALID_ARGUMENT', `${flag}: ${field}: ${choice}`);
  }
  const { kv_connector: connector, kv_role: role, ...rest } = parsed.data;
  if (connector !== connectorName) {
    throw new Fault(
      'INVALID_ARGUMENT',
      `${flag}: kv_connector: "${connector}" is not supported; ${connectorName} is`,
    );
  }
  return { role, ignoredFields: Object.keys(rest) };
}

function parseObject(text: string): object {
  let value: unknown;
  let reason = 'it is not an object';
  try {
    value = JSON.parse(text);
  } catch (error) {
    reason = (error as Error).message;
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value;
  throw new Fault(
    'INVALID_ARGUMENT',
    `${flag}: ${reason}; it must be a JSON object like {"kv_connector":"${connectorName}","kv_role":"kv_both"}`,
  );
}
