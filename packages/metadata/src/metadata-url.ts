import { Fault } from '@tsukimi/base';

/**
 * The base URL of an HTTP metadata server, without its query. Mooncake's other connection strings
 * are recognised, so that the refusal can say what works instead.
 */
export function parseMetadataUrl(text: string): URL {
  const shown = text.trim();
  const works = 'use the address of an HTTP metadata server, like http://host:8080/metadata';
  const refuse = (reason: string) =>
    new Fault('INVALID_ARGUMENT', `metadata_server: "${shown}" ${reason}; ${works}`);
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(shown)?.[1]?.toLowerCase();
  if (shown === '') throw new Fault('INVALID_ARGUMENT', `metadata_server: is empty; ${works}`);
  if (shown === 'P2PHANDSHAKE') throw refuse('needs no metadata server, which is not supported');
  if (scheme === undefined) throw refuse('names no scheme and so means etcd, not supported');
  if (scheme !== 'http' && scheme !== 'https') throw refuse(`means ${scheme}, not supported`);
  if (!URL.canParse(shown)) throw refuse('is not a URL');
  const url = new URL(shown);
  if (url.search !== '' || url.hash !== '') throw refuse('must not have a query or a fragment');
  return url;
}
