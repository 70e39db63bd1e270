import type { SharedText, SharedTextOptions } from './shared-text.ts';

/** Connects when it is first asked. */
export async function openSharedText(options: SharedTextOptions): Promise<SharedText> {
  const { EtcdText } = await import('./etcd-text.ts');
  return new EtcdText(options);
}
