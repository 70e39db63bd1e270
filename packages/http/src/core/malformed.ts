import { Fault } from '@tsukimi/base';

/** A message that breaks the rules of RFC 9112; `status` is what a server answers to it. */
export function malformed(message: string, status = 400): Fault {
  return new Fault('MALFORMED', message, { details: { status } });
}
