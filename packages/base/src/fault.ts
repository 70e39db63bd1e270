/** Whether the same request may be tried again, and where. */
export type Retry = 'never' | 'later' | 'elsewhere';

interface FaultTraits {
  readonly httpStatus: number;
  readonly retry: Retry;
}

/** Every failure one component may report to another, with all that depends on its kind. */
export const faults = {
  INVALID_ARGUMENT: { httpStatus: 400, retry: 'never' },
  UNAUTHORIZED: { httpStatus: 403, retry: 'never' },
  NOT_FOUND: { httpStatus: 404, retry: 'never' },
  ALREADY_EXISTS: { httpStatus: 409, retry: 'never' },
  TOO_LARGE: { httpStatus: 413, retry: 'never' },
  /** Bytes from a peer that do not follow the protocol. */
  MALFORMED: { httpStatus: 400, retry: 'never' },
  /** The peer speaks the protocol but refused; `details.code` has its number. */
  REFUSED: { httpStatus: 502, retry: 'never' },
  NO_SPACE: { httpStatus: 507, retry: 'later' },
  /** A limit of ours is reached; the caller should come back. */
  OVERLOADED: { httpStatus: 503, retry: 'later' },
  PEER_UNREACHABLE: { httpStatus: 502, retry: 'elsewhere' },
  DEADLINE_PASSED: { httpStatus: 504, retry: 'elsewhere' },
  /** The caller went away or the service is stopping. */
  CANCELLED: { httpStatus: 499, retry: 'elsewhere' },
  /** What the operator asked for cannot work here; the message names the option that helps. */
  MISCONFIGURED: { httpStatus: 500, retry: 'never' },
  UNSUPPORTED: { httpStatus: 501, retry: 'never' },
  INTERNAL: { httpStatus: 500, retry: 'elsewhere' },
} as const satisfies Record<string, FaultTraits>;

export type FaultCode = keyof typeof faults;

export interface FaultOptions {
  readonly details?: Readonly<Record<string, string | number | bigint>>;
  readonly cause?: unknown;
}

/** An expected failure. Recognised by its code, never by its message. */
export class Fault extends Error {
  override readonly name = 'Fault';
  readonly code: FaultCode;
  readonly details: Readonly<Record<string, string | number | bigint>>;

  constructor(code: FaultCode, message: string, options: FaultOptions = {}) {
    super(message, 'cause' in options ? { cause: options.cause } : undefined);
    this.code = code;
    this.details = options.details ?? {};
  }

  get retry(): Retry {
    return faults[this.code].retry;
  }

  get httpStatus(): number {
    return faults[this.code].httpStatus;
  }

  static has(error: unknown, ...codes: FaultCode[]): error is Fault {
    return error instanceof Fault && codes.includes(error.code);
  }
}
