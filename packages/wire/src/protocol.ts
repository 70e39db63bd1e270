import { createHash } from 'node:crypto';
import type { ByteReader } from './byte-reader.ts';
import type { ByteWriter } from './byte-writer.ts';
import { type Codec, tuple } from './codec.ts';
import {
  decodeMessage,
  type EncodeOptions,
  encodeMessage,
  type MessageType,
  messageType,
} from './struct-pack.ts';

/** One remote call: its number, and the messages of its arguments and its result. */
export interface Method<A extends readonly unknown[], R> {
  /** First four bytes, read big-endian, of the MD5 of the C++ function's qualified name. */
  readonly functionId: number;
  /** Null for a call without arguments: its body is empty. */
  readonly request: MessageType<A> | null;
  readonly response: MessageType<R>;
}

// The arguments of a method are read as well as written, so that no one type is above all methods.
export type Protocol = Readonly<Record<string, Method<any, any>>>;
export type ArgsOf<M> = M extends Method<infer A, unknown> ? A : never;
export type ResultOf<M> = M extends { readonly response: MessageType<infer R> } ? R : never;

type Elements<A extends readonly unknown[]> = { readonly [K in keyof A]: Codec<A[K]> };

/** Declares a method of a C++ class; one argument travels alone, more as a tuple. */
export function methodOf(className: string) {
  return function method<A extends readonly unknown[], R>(
    name: string,
    args: Elements<A>,
    result: Codec<R>,
  ): Method<A, R> {
    const digest = createHash('md5').update(`${className}::${name}`).digest();
    const codecs = args as unknown as readonly Codec<unknown>[];
    const only = codecs[0];
    const request =
      only === undefined
        ? null
        : messageType(codecs.length === 1 ? alone<A>(only) : tuple<A>(...args));
    return { functionId: digest.readUInt32BE(0), request, response: messageType(result) };
  };
}

export function encodeArgs<A extends readonly unknown[]>(
  out: ByteWriter,
  method: Method<A, unknown>,
  args: A,
  options?: EncodeOptions,
): void {
  if (method.request !== null) encodeMessage(out, method.request, args, options);
}

/**
 * Reads the arguments of a request; throws `MALFORMED` for those of another layout. What follows them
 * is left in the source.
 */
export function decodeArgs<A extends readonly unknown[]>(
  method: Method<A, unknown>,
  source: ByteReader,
): A {
  if (method.request === null) return [] as unknown as A;
  return decodeMessage(source, method.request);
}

/** Writes a single argument without the brackets of a tuple. */
function alone<A extends readonly unknown[]>(codec: Codec<unknown>): Codec<A> {
  return {
    literal: codec.literal,
    write: (out, args) => codec.write(out, args[0]),
    read: (source) => [codec.read(source)] as unknown as A,
  };
}
