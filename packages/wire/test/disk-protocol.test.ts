import { describe, expect, it } from 'vitest';
import { diskProtocol, parseStorageKey, storageKeyOf } from '../src/index.ts';

describe('diskProtocol', () => {
  it('has the numbers of the published clients', () => {
    const { batch_get_offload_object: load, release_offload_buffer: release } = diskProtocol;
    const shown = [load, release].flatMap(({ functionId, request, response }) =>
      [functionId, request?.code ?? 0, response.code].map((code) =>
        code.toString(16).padStart(8, '0'),
      ),
    );
    expect(shown).toEqual([
      ...['dc8109d6', '81a6a1e6', 'fd03acb0'],
      ...['aa143bb9', 'ec7f7e7a', '13c8ffd8'],
    ]);
  });

  it('names objects among those of all tenants', () => {
    expect(storageKeyOf('moon', 'a\0b')).toBe('moon\0a\0b');
    expect(parseStorageKey('moon\0a\0b')).toEqual({ tenantId: 'moon', key: 'a\0b' });
    expect(parseStorageKey('a')).toEqual({ tenantId: 'default', key: 'a' });
  });
});
