import { readFileSync } from 'node:fs';

export interface Vector {
  readonly name: string;
  readonly direction: 'request' | 'response';
  readonly function_id: number | null;
  readonly rpc_error?: number;
  readonly value: unknown;
  readonly body_hex: string;
  readonly frame_hex: string;
  readonly body_hex_no_literal?: string;
  readonly frame_hex_no_literal?: string;
}

interface RpcRow {
  readonly function_id: number;
  readonly request_type_code: number | null;
  readonly response_type_code: number;
  readonly request_type_literal: string | null;
  readonly response_type_literal: string;
}

/** Messages of Mooncake itself: compiled from its headers, or recorded between its client and master. */
export const {
  vectors,
  captured_rpc: captured,
  rpcs,
  type_codes_by_version: typeCodesByRelease,
  'type_literals_v0.3.12.post1': literalsOf0312,
} = JSON.parse(
  readFileSync(new URL('./vectors/mooncake-0.3.13.json', import.meta.url), 'utf8'),
) as {
  vectors: Vector[];
  captured_rpc: Vector[];
  rpcs: Record<string, RpcRow>;
  /** By call, then by release. */
  type_codes_by_version: Record<
    string,
    Record<string, { readonly request: number | null; readonly response: number }>
  >;
  'type_literals_v0.3.12.post1': Record<
    string,
    { readonly request: string | null; readonly response: string }
  >;
};

export const framesOf = (direction: Vector['direction']): Buffer[] =>
  [...vectors, ...captured]
    .filter((vector) => vector.direction === direction)
    .map(({ frame_hex }) => Buffer.from(frame_hex, 'hex'));
