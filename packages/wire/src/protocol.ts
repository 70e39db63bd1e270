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
  readonly functionId: number;
  /** Null for a call without arguments: its body is empty. */
  readonly request: MessageType<A> | null;
  readonly response: MessageType<R>;
  /** Which argument says who calls; -1 for none. */
  readonly callerAt: number;
}

// The arguments of a method are read as well as written, so that no one type is above all methods.
export type Protocol = Readonly<Record<string, Method<any, any>>>;
export type ArgsOf<M> = M extends Method<infer A, unknown> ? A : never;
export type ResultOf<M> = M extends { readonly response: MessageType<infer R> } ? R : never;

type Elements<A extends readonly unknown[]> = { readonly [K in keyof A]: Codec<A[K]> };

/**
 * Declares a method of a C++ class; one argument travels alone, more as a tuple. Arguments that the
 * layout does not hold are no part of either.
 */
export function methodOf(className: string) {
  return function method<A extends readonly unknown[], R>(
    name: string,
    args: Elements<A>,
    result: Codec<R>,
  ): Method<A, R> {
    const codecs = args as unknown as readonly Codec<unknown>[];
    const held = codecs.filter(({ literal }) => literal.length > 0);
    const all = tuple<A>(...args);
    const only = held.length === 1 ? { ...all, literal: held[0]?.literal ?? [] } : all;
    return {
      functionId: functionIdOf(className, name),
      request: held.length === 0 ? null : messageType(only),
      response: messageType(result),
      callerAt: codecs.findIndex(({ namesCaller }) => namesCaller),
    };
  };
}

/** First four bytes, read big-endian, of the MD5 of the C++ function's qualified name. */
export function functionIdOf(className: string, name: string): number {
  return createHash('md5').update(`${className}::${name}`).digest().readUInt32BE(0);
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
