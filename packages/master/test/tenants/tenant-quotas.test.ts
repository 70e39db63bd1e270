import { describe, expect, it } from 'vitest';
import type { TenantQuotas } from '../../src/core/tenant-quotas.ts';
import { atOnce, configOf, coreForTests, segmentOf, uuid } from '../../src/testing.ts';

const all = 4;
const [holder, writer] = [uuid(1), uuid(2)];
const ok = { ok: undefined };

function coreWith(policies: Record<string, number>, capacity = 1_000) {
  const { core, clock } = coreForTests({ isMultiTenant: true, leaseTtlMs: 100 });
  core.mountSegment(segmentOf(1, capacity), holder);
  const quotas = core.tenantQuotas as TenantQuotas;
  quotas.replace(new Map(Object.entries(policies)));
  const put = (tenant: string, key: string, byteCount: number, fields = {}) => {
    const started = core.putStart(writer, key, byteCount, configOf(fields), tenant);
    return 'ok' in started ? core.putEnd(writer, key, null, all, tenant) : started;
  };
  const effective = () => quotas.list().map(({ effectiveByteCount }) => effectiveByteCount);
  return { core, clock, quotas, put, effective };
}

describe('the quotas of tenants', () => {
  it('are what was asked for while there is enough, and shares of what there is otherwise', () => {
    const { core, effective } = coreWith({ a: 400, b: 500 });
    expect(effective()).toEqual([400, 500]);
    core.unmountSegment(uuid(1), holder);
    expect(effective()).toEqual([0, 0]);
    core.mountSegment(segmentOf(2, 100), holder);
    expect(effective()).toEqual([44, 56]);
    core.mountSegment(segmentOf(3, 1), holder);
    expect(effective()).toEqual([45, 56]);
  });

  it('let a tenant make room among its own objects only', () => {
    const { core, clock, put } = coreWith({ a: 100, b: 100 });
    expect(put('b', 'k', 60)).toEqual(ok);
    expect([put('a', 'k', 60), put('a', 'l', 40)]).toEqual([ok, ok]);
    core.exist('l', 'a');
    expect(put('a', 'm', 50)).toEqual(ok);
    expect([core.exist('k', 'a'), core.exist('l', 'a'), core.exist('k', 'b')]).toEqual([
      false,
      true,
      true,
    ]);
    core.exist('m', 'a');
    expect(put('a', 'n', 50)).toEqual({ error: -1700 });
    clock.advance(200);
    expect(put('a', 'n', 50)).toEqual(ok);
    expect(put('a', 'too big', 101)).toEqual({ error: -1700 });
    expect(core.exist('n', 'a')).toBe(true);
    core.checkInvariants();
  });

  it('never evict what is pinned hard, and count what is being written', () => {
    const { core, quotas, put } = coreWith({ a: 100 });
    expect(put('a', 'pinned', 60, { withHardPin: true })).toEqual(ok);
    core.putStart(writer, 'begun', 30, configOf(), 'a');
    expect(put('a', 'k', 20)).toEqual({ error: -1700 });
    expect(quotas.get('a')).toMatchObject({ chargedByteCount: 90 });
    core.putRevoke(writer, 'begun', all, 'a');
    expect(put('a', 'k', 20)).toEqual(ok);
    core.checkInvariants();
  });

  it('end with the policy, not with the objects', () => {
    const { core, quotas, put } = coreWith({ a: 100 });
    put('a', 'k', 60);
    quotas.replace(new Map());
    expect(put('a', 'l', 10)).toEqual({ error: -1701 });
    expect(core.exist('k', 'a')).toBe(true);
    expect(quotas.list()).toEqual([
      { tenantId: 'a', requestedByteCount: 0, effectiveByteCount: 0, chargedByteCount: 60 },
    ]);
    atOnce(core.removeAll(true));
    expect([quotas.list(), quotas.get('a')]).toEqual([[], null]);
  });
});
