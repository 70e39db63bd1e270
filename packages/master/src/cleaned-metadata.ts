import { readFileSync } from 'node:fs';
import { type Clock, Fault, jsonReason, type Logger } from '@tsukimi/base';
import {
  type MetadataAddress,
  type MetadataServer,
  openMetadataStore,
  parseMetadataAddress,
} from '@tsukimi/metadata';
import type { CleanedMetadata } from './metadata-cleaner.ts';

export type Environment = Readonly<Record<string, string | undefined>>;

/** Opens the metadata that a master cleans; null where there is none to clean. */
export type OpenCleanedMetadata = (() => Promise<CleanedMetadata>) | null;

interface Sources {
  /** `--metadata-server`, which goes before the others. */
  readonly given: string | undefined;
  /** The one in the same process. */
  readonly inside: MetadataServer | null;
  readonly env: Environment;
  readonly ports: { readonly clock: Clock; readonly logger: Logger };
}

/**
 * Where the engines of the cluster publish themselves: what is given, else the server inside, else the
 * `metadata_server` of the file that MOONCAKE_CONFIG_PATH names, as Mooncake's master looks for it.
 */
export function cleanedMetadata({ given, inside, env, ports }: Sources): OpenCleanedMetadata {
  if (given === undefined && inside !== null) {
    return async () => ({
      get: (key) => inside.get(key),
      remove: (key) => inside.remove(key),
      close: async () => {},
    });
  }
  const address = addressOf(given, env);
  if (address === null || address.kind === 'p2p') return null;
  return () => openMetadataStore(address, ports);
}

function addressOf(given: string | undefined, env: Environment): MetadataAddress | null {
  if (given !== undefined) return parseMetadataAddress(given, env);
  const path = env['MOONCAKE_CONFIG_PATH'];
  if (path === undefined || path === '') return null;
  try {
    const file = JSON.parse(readFileSync(path, 'utf8')) as { readonly metadata_server?: unknown };
    const { metadata_server: server } = file;
    return typeof server === 'string' ? parseMetadataAddress(server, env) : null;
  } catch (error) {
    throw new Fault('INVALID_ARGUMENT', `MOONCAKE_CONFIG_PATH: ${path}: ${jsonReason(error)}`);
  }
}
