import { type Clock, Fault, type Logger } from '@tsukimi/base';
import { HttpMetadataStore } from './http-metadata-store.ts';
import type { MetadataAddress } from './metadata-address.ts';
import type { ClosableMetadataStore } from './metadata-store.ts';

/**
 * The store behind a connection string. Connects when it is first asked, so a server that is down does not
 * matter yet. Throws `UNSUPPORTED` for `P2PHANDSHAKE`, which has no store.
 */
export async function openMetadataStore(
  address: MetadataAddress,
  ports: { readonly clock: Clock; readonly logger: Logger },
): Promise<ClosableMetadataStore> {
  switch (address.kind) {
    case 'http':
      return new HttpMetadataStore({ url: address.url, clock: ports.clock });
    case 'etcd': {
      // Loaded on demand: the clients are large, and most clusters need neither.
      const { EtcdMetadataStore } = await import('./etcd-metadata-store.ts');
      return new EtcdMetadataStore({ address, ...ports });
    }
    case 'redis': {
      const { RedisMetadataStore } = await import('./redis-metadata-store.ts');
      return new RedisMetadataStore({ address, ...ports });
    }
    case 'p2p':
      throw new Fault('UNSUPPORTED', 'metadata_server: P2PHANDSHAKE has no metadata store');
  }
}
