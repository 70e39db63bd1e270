import { readFileSync } from 'node:fs';
import { rootCertificates } from 'node:tls';
import { type Clock, Fault, formatAddress } from '@tsukimi/base';
import { ConstantBackoff, handleWhen, noop, retry } from 'cockatiel';
import { Etcd3, type IOptions, isRecoverableError } from 'etcd3';
import type { EtcdAddress } from './metadata-address.ts';

const retryPauseMs = 50;

/** A client that gives each attempt at an endpoint `attemptMs`, and tries each endpoint once. */
export function etcdClientFor(address: EtcdAddress, clock: Clock, attemptMs: number): Etcd3 {
  return new Etcd3({
    hosts: address.endpoints.map(
      (endpoint) => `${address.tls === null ? 'http' : 'https'}://${formatAddress(endpoint)}`,
    ),
    ...credentialsOf(address),
    ...(address.login === null ? {} : { auth: address.login }),
    defaultCallOptions: () => ({ deadline: clock.wallMs() + attemptMs }),
    faultHandling: {
      // Not its circuit breaker: that would go on refusing after etcd is back.
      host: () => noop,
      global: retry(handleWhen(isRecoverableError), {
        maxAttempts: address.endpoints.length,
        backoff: new ConstantBackoff(retryPauseMs),
      }),
    },
  });
}

function credentialsOf({ tls }: EtcdAddress): Pick<IOptions, 'credentials'> {
  if (tls === null) return {};
  const { authorities } = tls;
  return {
    credentials: {
      rootCertificate:
        authorities === null
          ? Buffer.from(rootCertificates.join('\n'))
          : readPem(authorities, 'ETCDCTL_CACERT'),
      ...(tls.key === null ? {} : { privateKey: readPem(tls.key, 'ETCDCTL_KEY') }),
      ...(tls.certificate === null ? {} : { certChain: readPem(tls.certificate, 'ETCDCTL_CERT') }),
    },
  };
}

function readPem(path: string, what: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? String(error);
    throw new Fault('MISCONFIGURED', `${what}: ${path} cannot be read (${code})`);
  }
}
