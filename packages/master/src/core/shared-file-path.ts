const mask = (1n << 64n) - 1n;
const multiplier = 0xc6a4a7935bd1e995n;
const seed = 0xc70f6907n;

/**
 * The file of an object in the directory that all clients share, where Mooncake's master puts it: two
 * levels of sixteen folders by the low bits of the key's hash, then the key without what file names
 * cannot hold.
 */
export function sharedFilePath(directory: string, key: string): string {
  const hash = hashOf(Buffer.from(key));
  const folder = (bits: bigint) => String.fromCharCode(97 + Number(bits & 15n));
  const name = key.replace(/[/\\:*?"<>|\0]/g, '_');
  return `${directory}/${folder(hash)}/${folder(hash >> 4n)}/${name}`;
}

/** MurmurHash64A as the C++ library seeds it for strings. */
function hashOf(bytes: Buffer): bigint {
  const mixed = (value: bigint) => value ^ (value >> 47n);
  let hash = seed ^ ((BigInt(bytes.length) * multiplier) & mask);
  const wholeLength = bytes.length & ~7;
  for (let at = 0; at < wholeLength; at += 8) {
    const word = (mixed((bytes.readBigUInt64LE(at) * multiplier) & mask) * multiplier) & mask;
    hash = ((hash ^ word) * multiplier) & mask;
  }
  if (wholeLength < bytes.length) {
    let rest = 0n;
    for (let at = bytes.length - 1; at >= wholeLength; at -= 1) {
      rest = (rest << 8n) | BigInt(bytes[at] as number);
    }
    hash = ((hash ^ rest) * multiplier) & mask;
  }
  return mixed((mixed(hash) * multiplier) & mask);
}
