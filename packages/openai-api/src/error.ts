import { Fault } from '@tsukimi/base';

/** The body of every answer that is not a success, as OpenAI's clients expect it. */
export interface OpenAiErrorBody {
  readonly error: {
    readonly message: string;
    readonly type: string;
    /** The request's field at fault. */
    readonly param: string | null;
    /** A stable word for programs, as `model_not_found`. */
    readonly code: string | null;
  };
}

export interface OpenAiErrorOptions {
  /** By default the type that goes with the status. */
  readonly type?: string | undefined;
  readonly param?: string | undefined;
  readonly code?: string | undefined;
}

const typeByStatus: Readonly<Record<number, string>> = {
  401: 'authentication_error',
  403: 'permission_error',
  429: 'rate_limit_error',
  503: 'service_unavailable_error',
};

export function openAiError(
  status: number,
  message: string,
  options: OpenAiErrorOptions = {},
): OpenAiErrorBody {
  const usual = status >= 500 ? 'server_error' : 'invalid_request_error';
  return {
    error: {
      message,
      type: options.type ?? typeByStatus[status] ?? usual,
      param: options.param ?? null,
      code: options.code ?? null,
    },
  };
}

/** An answer ready to be sent: `headers` holds `Retry-After`, in seconds, where coming back later helps. */
export interface OpenAiErrorAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: OpenAiErrorBody;
}

/**
 * What the client learns of a failure. A `Fault` tells its message, and `details.param`,
 * `details.code` and `details.retryAfterSeconds` where it has them; of any other error only that there was one.
 */
export function openAiErrorOf(error: unknown): OpenAiErrorAnswer {
  if (!(error instanceof Fault)) {
    return { status: 500, headers: {}, body: openAiError(500, 'an internal error occurred') };
  }
  const { param, code, status, retryAfterSeconds } = error.details;
  const statusCode = typeof status === 'number' ? status : error.httpStatus;
  return {
    status: statusCode,
    headers: error.retry === 'later' ? { 'Retry-After': String(retryAfterSeconds ?? 1) } : {},
    body: openAiError(statusCode, error.message, {
      param: param === undefined ? undefined : String(param),
      code: code === undefined ? undefined : String(code),
    }),
  };
}
