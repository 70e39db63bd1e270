import { type Address, Fault, formatAddress, parseAddress } from '@tsukimi/base';

/** Reads `host:port` of an instance, and refuses what no URL could be made of. `what` names the option. */
export function parseInstanceAddress(text: string, what: string): Address {
  const address = parseAddress(text, what);
  const url = `http://${formatAddress(address)}`;
  if (/[@?#\\%]/.test(address.host) || !URL.canParse(url)) {
    throw new Fault('INVALID_ARGUMENT', `${what}: "${text}" has no usable host name`);
  }
  return address;
}
