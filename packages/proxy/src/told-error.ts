/** What an instance tells of its failure inside an answer, or a stream, of status 200. */
export interface ToldError {
  /** That the answer should have had: 400 to 599. */
  readonly status: number;
  readonly message: string;
  /** JSON, as it was told. */
  readonly json: string;
}

/** The types that Anthropic's API and vLLM name, as far as they stand for a request's own fault. */
const statusOfType = new Map<unknown, number>([
  ['invalid_request_error', 400],
  ['BadRequestError', 400],
  ['NotFoundError', 404],
  ['request_too_large', 413],
  ['rate_limit_error', 429],
]);
const messageLengthMax = 200;

/** Of the JSON of an event, or of an answer, that is known to tell of an error, in whatever form. */
export function toldError(json: string): ToldError {
  const told = objectIn(json);
  const inner = told?.['error'] ?? told?.['response'] ?? told;
  const error = isObject(inner) ? (isObject(inner['error']) ? inner['error'] : inner) : {};
  const status = Number(error['code'] ?? error['status']);
  const message = typeof inner === 'string' ? inner : error['message'];
  return {
    status:
      Number.isInteger(status) && status >= 400 && status < 600
        ? status
        : (statusOfType.get(error['type']) ?? 500),
    message: typeof message === 'string' ? message.slice(0, messageLengthMax) : 'no message',
    json,
  };
}

function objectIn(json: string): Readonly<Record<string, unknown>> | null {
  try {
    const value = JSON.parse(json) as unknown;
    return isObject(value) ? value : null;
  } catch {
    return null;
  }
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null;
}
