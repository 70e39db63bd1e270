import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SystemClock } from '@tsukimi/base';
import { type EtcdAddress, openSharedText, parseMetadataAddress } from '@tsukimi/metadata';
import { startEtcd } from '@tsukimi/metadata/testing';
import { describe, expect, it } from 'vitest';
import {
  FilePolicyStore,
  formatPolicies,
  type PolicyStore,
  parsePolicies,
} from '../../src/tenants/policy-store.ts';
import { policyStoreOf } from '../../src/tenants/tenant-options.ts';

describe('the quotas of tenants in etcd', () => {
  it('are shared by the masters of a cluster, under the key of Mooncake', async () => {
    const server = await startEtcd();
    const options = {
      enableMultiTenants: true,
      tenantQuotaConnectorType: 'etcd' as const,
      tenantQuotaConnectorUri: `127.0.0.1:${server.port}`,
    };
    const clock = new SystemClock();
    const open = (clusterId: string) =>
      policyStoreOf({ ...options, clusterId }, {}, clock) as PolicyStore;
    const [one, same, other] = [open('c'), open('c/'), open('d')];
    try {
      expect(await one.load()).toEqual(new Map());
      await one.save(new Map([['a', 2 ** 30]]));
      expect(await same.load()).toEqual(new Map([['a', 2 ** 30]]));
      expect(await other.load()).toEqual(new Map());
      const address = parseMetadataAddress(`etcd://127.0.0.1:${server.port}`, {}) as EtcdAddress;
      const key = 'mooncake-store/c/tenant_quota_policy';
      const text = await openSharedText({ address, key, clock });
      expect(parsePolicies((await text.read()) ?? '', key)).toEqual(new Map([['a', 2 ** 30]]));
      await text.write('version: 2');
      await expect(one.load()).rejects.toMatchObject({ code: 'MISCONFIGURED' });
      text.close();
    } finally {
      for (const store of [one, same, other]) store.close();
      await server.dispose();
    }
  });

  it('are not guessed when nobody says where they are', () => {
    const options = { tenantQuotaConnectorUri: '', clusterId: 'c' };
    const kinds = ['file', 'etcd'] as const;
    for (const tenantQuotaConnectorType of kinds) {
      const given = { ...options, tenantQuotaConnectorType };
      const clock = new SystemClock();
      expect(policyStoreOf({ ...given, enableMultiTenants: false }, {}, clock)).toBeNull();
      expect(() => policyStoreOf({ ...given, enableMultiTenants: true }, {}, clock)).toThrow(
        /--tenant_quota_connector_uri/,
      );
    }
  });
});

describe('the quotas of tenants in a file', () => {
  it('are read in the units that Mooncake knows', () => {
    const text = `
version: 1
tenants:
  - {name: a, quota: 1}
  - {name: "b c", quota: 2B}
  - {name: d, quota: 3KB}
  - {name: e, quota: "4MB"}
  - {name: f, quota: 5GB}
  - {name: g, quota: 6TB}
`;
    expect([...parsePolicies(text, 'f')]).toEqual([
      ['a', 1],
      ['b c', 2],
      ['d', 3 * 2 ** 10],
      ['e', 4 * 2 ** 20],
      ['f', 5 * 2 ** 30],
      ['g', 6 * 2 ** 40],
    ]);
  });

  it.each([
    ['no YAML', 'version: [1'],
    ['another version', 'version: 2\ntenants: []'],
    ['no tenants', 'version: 1'],
    ['a reserved name', 'version: 1\ntenants: [{name: _a, quota: 1}]'],
    ['a quota of nothing', 'version: 1\ntenants: [{name: a, quota: 0}]'],
    ['an unknown unit', 'version: 1\ntenants: [{name: a, quota: 1MiB}]'],
    ['too much', 'version: 1\ntenants: [{name: a, quota: 9223372036854775808}]'],
    ['a tenant twice', 'version: 1\ntenants: [{name: a, quota: 1}, {name: a, quota: 2}]'],
  ])('are refused with %s', (_, text) => {
    expect(() => parsePolicies(text, 'f')).toThrow(/--tenant_quota_connector_uri: f/);
  });

  it('are the same after they were written, and nothing else is left', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'tsukimi-policies-'));
    try {
      const path = join(directory, 'quotas.yaml');
      const store = new FilePolicyStore(path);
      await expect(store.load()).rejects.toMatchObject({ code: 'MISCONFIGURED' });
      await writeFile(path, formatPolicies(new Map()));
      expect([...(await store.load())]).toEqual([]);
      const policies = new Map([
        ['a "quoted" name', 1],
        ['naïve\\', 2 ** 40],
      ]);
      await store.save(policies);
      expect(await store.load()).toEqual(policies);
      expect([await readdir(directory), await readFile(path, 'utf8')]).toEqual([
        ['quotas.yaml'],
        formatPolicies(policies),
      ]);
    } finally {
      await rm(directory, { recursive: true });
    }
  });
});
