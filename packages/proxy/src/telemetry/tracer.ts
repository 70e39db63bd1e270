/** Values that a span tells of itself. Never a prompt. */
export type SpanAttributes = Readonly<Record<string, string | number | boolean>>;

/** One piece of a request's way, from its making to its first `end`. */
export interface Span {
  /** For the header of the same name of calls made within this span (W3C Trace Context). */
  readonly traceparent: string;
  /** `calls`: it is a call to somebody else. */
  child(name: string, kind: 'calls' | 'internal', attributes: SpanAttributes): Span;
  tell(attributes: SpanAttributes): void;
  /** `failure` says why it did not end well. Harmless when repeated. */
  end(failure?: string): void;
}

/** Makes the span of a whole request, below the one that the client's `traceparent` names. */
export interface Tracer {
  request(name: string, traceparent: string | undefined, attributes: SpanAttributes): Span;
}
