import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { type ConnectionOptions, createSecureContext } from 'node:tls';
import { type Clock, Fault, FollowedFiles, type Logger } from '@tsukimi/base';
import type { Entrance } from './entrance.ts';
import type { ProxyOptions } from './options.ts';

interface Parts {
  readonly clock: Clock;
  readonly logger: Logger;
}

/**
 * What keeps the entrance's certificate that of `--ssl-certfile`; null without one. A pair that is no
 * pair changes nothing while it runs, and keeps the proxy from starting.
 */
export function followCertificate(
  { sslKeyfile, sslCertfile }: ProxyOptions,
  { clock, logger }: Parts,
  entrance: Pick<Entrance, 'setCertificate'>,
): FollowedFiles | null {
  if (sslKeyfile === undefined && sslCertfile === undefined) return null;
  if (sslKeyfile === undefined || sslCertfile === undefined) {
    const [given, missing] =
      sslKeyfile === undefined
        ? ['--ssl-certfile', '--ssl-keyfile']
        : ['--ssl-keyfile', '--ssl-certfile'];
    throw new Fault('INVALID_ARGUMENT', `${given} needs ${missing} beside it`);
  }
  let served = false;
  return new FollowedFiles({
    name: 'certificate',
    paths: [sslKeyfile, sslCertfile],
    clock,
    onTexts: ([key = '', cert = '']) => {
      const context = { key, cert, minVersion: 'TLSv1.2' } as const;
      try {
        if (cert === '' || key === '') throw new Error('one of the files is empty');
        // A server that refuses a pair has half of it by then.
        createSecureContext(context);
        entrance.setCertificate(context);
      } catch (error) {
        const reason = `${sslCertfile} with ${sslKeyfile}: ${(error as Error).message}`;
        throw new Fault('MISCONFIGURED', reason);
      }
      const { subject, validTo } = new X509Certificate(cert);
      if (served) logger.info('proxy.certificate_changed', { subject, validTo });
      served = true;
    },
    onFlaw: (reason) => logger.error('proxy.certificate_unusable', { reason }),
  });
}

/** What `https://` instances are held to. Throws `MISCONFIGURED` where `--ssl-ca-certs` is of no use. */
export function upstreamTls({ sslCaCerts }: ProxyOptions): ConnectionOptions {
  if (sslCaCerts === undefined) return { minVersion: 'TLSv1.2' };
  try {
    const ca = readFileSync(sslCaCerts, 'utf8');
    // OpenSSL takes a file without any certificate for a list of none.
    new X509Certificate(ca);
    return { ca, minVersion: 'TLSv1.2' };
  } catch (error) {
    const reason = `--ssl-ca-certs ${sslCaCerts}: ${(error as Error).message}`;
    throw new Fault('MISCONFIGURED', reason);
  }
}
