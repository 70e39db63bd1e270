import { open, readFile, rename, rm } from 'node:fs/promises';
import { Fault } from '@tsukimi/base';
import type { SharedText } from '@tsukimi/metadata';
import { parse as parseYaml } from 'yaml';
import { z } from 'zod';
import { isTenantName } from '../core/tenant-table.ts';

/** How many bytes each tenant asked for. */
export type TenantPolicies = ReadonlyMap<string, number>;

/** Where policies are kept between runs, in the form of Mooncake's connectors. */
export interface PolicyStore {
  load(): Promise<TenantPolicies>;
  save(policies: TenantPolicies): Promise<void>;
  close(): void;
}

const unitByteCounts: Readonly<Record<string, number>> = {
  '': 1,
  B: 1,
  KB: 2 ** 10,
  MB: 2 ** 20,
  GB: 2 ** 30,
  TB: 2 ** 40,
};
/** More tenants than that are no tenants. */
const tenantCountMax = 100_000;

const quota = z.coerce
  .string()
  .regex(/^\d+(B|KB|MB|GB|TB)?$/, 'not a size such as 1073741824, 512MB or 4GB')
  .transform((text) => {
    const unit = text.replace(/^\d+/, '');
    return Number.parseInt(text, 10) * (unitByteCounts[unit] as number);
  })
  .refine((byteCount) => byteCount >= 1 && byteCount < 2 ** 63, 'not between 1 and 2^63 − 1 bytes');

const document = z.object({
  version: z.literal(1),
  tenants: z
    .array(z.object({ name: z.string().refine(isTenantName, 'no name for a tenant'), quota }))
    .max(tenantCountMax),
});

/** Reads `version: 1` and a list of tenants with `name` and `quota`; throws `MISCONFIGURED`. */
export function parsePolicies(text: string, from: string): TenantPolicies {
  const result = document.safeParse(yamlOf(text));
  if (!result.success) {
    const [issue] = result.error.issues;
    throw badPolicies(from, `${issue?.path.join('.') ?? ''}: ${issue?.message ?? ''}`);
  }
  const policies = new Map<string, number>();
  for (const { name, quota: byteCount } of result.data.tenants) {
    if (policies.has(name)) throw badPolicies(from, `tenant ${name} is there twice`);
    policies.set(name, byteCount);
  }
  return policies;
}

export function formatPolicies(policies: TenantPolicies): string {
  if (policies.size === 0) return 'version: 1\n\ntenants: []\n';
  const entries = [...policies].map(
    ([name, byteCount]) => `  - name: ${JSON.stringify(name)}\n    quota: ${byteCount}\n`,
  );
  return `version: 1\n\ntenants:\n${entries.join('')}`;
}

/** A YAML file, replaced as a whole. */
export class FilePolicyStore implements PolicyStore {
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
  }

  async load(): Promise<TenantPolicies> {
    let text: string;
    try {
      text = await readFile(this.#path, 'utf8');
    } catch (error) {
      throw badPolicies(this.#path, (error as Error).message);
    }
    return parsePolicies(text, this.#path);
  }

  async save(policies: TenantPolicies): Promise<void> {
    const draft = `${this.#path}.new`;
    try {
      const file = await open(draft, 'w', 0o644);
      try {
        await file.writeFile(formatPolicies(policies));
        await file.sync();
      } finally {
        await file.close();
      }
      await rename(draft, this.#path);
    } catch (error) {
      await rm(draft, { force: true });
      throw error;
    }
  }

  close(): void {}
}

/** The same YAML under a key that the masters of a cluster share. */
export class SharedPolicyStore implements PolicyStore {
  readonly #open: () => Promise<SharedText>;
  readonly #from: string;
  #text: SharedText | null = null;

  constructor(open: () => Promise<SharedText>, from: string) {
    this.#open = open;
    this.#from = from;
  }

  async load(): Promise<TenantPolicies> {
    this.#text ??= await this.#open();
    const text = await this.#text.read();
    return text === null ? new Map() : parsePolicies(text, this.#from);
  }

  async save(policies: TenantPolicies): Promise<void> {
    this.#text ??= await this.#open();
    await this.#text.write(formatPolicies(policies));
  }

  close(): void {
    this.#text?.close();
    this.#text = null;
  }
}

function yamlOf(text: string): unknown {
  try {
    return parseYaml(text);
  } catch {
    return null;
  }
}

function badPolicies(from: string, reason: string): Fault {
  return new Fault(
    'MISCONFIGURED',
    `--tenant_quota_connector_uri: ${from} is no list of tenants (${reason}); it should begin with "version: 1" and "tenants:"`,
  );
}
