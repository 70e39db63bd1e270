import {
  type Clock,
  Fault,
  type Option,
  type OptionValues,
  optionTypes,
  withoutPassword,
} from '@tsukimi/base';
import { openSharedText, parseMetadataAddress } from '@tsukimi/metadata';
import { z } from 'zod';
import type { Environment } from '../cleaned-metadata.ts';
import { FilePolicyStore, type PolicyStore, SharedPolicyStore } from './policy-store.ts';

const { flag } = optionTypes;

/** What an operator may say about tenants. */
export const tenantOptions = {
  enableMultiTenants: {
    schema: flag,
    kind: 'flag',
    doc: 'Tells tenants apart: each has keys of its own, and writes only with a quota.',
  },
  tenantQuotaConnectorType: {
    schema: z.enum(['file', 'etcd']).default('file'),
    doc: 'Where the quotas of tenants are kept: in a file, or in etcd.',
  },
  tenantQuotaConnectorUri: {
    schema: z.string().default(''),
    doc: 'The YAML file with the tenants and their quotas, which must exist, or the endpoints of etcd.',
  },
} as const satisfies Readonly<Record<string, Option>>;

/** Null when tenants are one. Throws when it is not said where quotas are. */
export function policyStoreOf(
  options: OptionValues<typeof tenantOptions> & { readonly clusterId: string },
  env: Environment,
  clock: Clock,
): PolicyStore | null {
  if (!options.enableMultiTenants) return null;
  const { tenantQuotaConnectorType: type, tenantQuotaConnectorUri: uri } = options;
  if (uri === '') {
    const what = type === 'file' ? 'the file with the quotas of tenants' : 'the endpoints of etcd';
    throw new Fault(
      'MISCONFIGURED',
      `--tenant_quota_connector_uri: --enable_multi_tenants needs ${what}`,
    );
  }
  if (type === 'file') return new FilePolicyStore(uri);
  const address = parseMetadataAddress(
    uri.includes('://') ? uri : `etcd://${uri}`,
    env,
    '--tenant_quota_connector_uri',
  );
  if (address.kind !== 'etcd') {
    throw new Fault(
      'MISCONFIGURED',
      `--tenant_quota_connector_uri: "${withoutPassword(uri)}" is not in etcd`,
    );
  }
  const cluster = options.clusterId.replace(/\/+$/, '') || 'mooncake_cluster';
  const key = `mooncake-store/${cluster}/tenant_quota_policy`;
  return new SharedPolicyStore(() => openSharedText({ address, key, clock }), key);
}
