import { Fault, type Option, type OptionValues, optionTypes } from '@tsukimi/base';
import { z } from 'zod';
import { FilePolicyStore, type PolicyStore } from './policy-store.ts';

const { flag } = optionTypes;

/** What an operator may say about tenants. */
export const tenantOptions = {
  enableMultiTenants: {
    schema: flag,
    kind: 'flag',
    doc: 'Tells tenants apart: each has keys of its own, and writes only with a quota.',
  },
  tenantQuotaConnectorType: {
    schema: z.enum(['file']).default('file'),
    doc: 'Where the quotas of tenants are kept: in a file.',
  },
  tenantQuotaConnectorUri: {
    schema: z.string().default(''),
    doc: 'The YAML file with the tenants and their quotas; must exist.',
  },
} as const satisfies Readonly<Record<string, Option>>;

/** Null when tenants are one. Throws when it is not said where quotas are. */
export function policyStoreOf(options: OptionValues<typeof tenantOptions>): PolicyStore | null {
  if (!options.enableMultiTenants) return null;
  if (options.tenantQuotaConnectorUri === '') {
    throw new Fault(
      'MISCONFIGURED',
      '--tenant_quota_connector_uri: --enable_multi_tenants needs the file with the quotas of tenants',
    );
  }
  return new FilePolicyStore(options.tenantQuotaConnectorUri);
}
