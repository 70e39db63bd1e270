/**
 * What every other package stands on: time and chance as ports, faults, assertions, the life cycle
 * of services, options declared once, log lines and an HTTP server with limits.
 */
export { type Address, formatAddress, parseAddress, withoutPassword } from './address.ts';
export { AssertionError, assert } from './assert.ts';
export { formatByteSize, parseByteSize } from './byte-size.ts';
export { Cancelling, type CancelSignal } from './cancelling.ts';
export { type Clock, every, type Scheduled, SystemClock, sleep, TurnClock } from './clock.ts';
export { type Deadline, deadline, orAborted } from './deadline.ts';
export { Fault, type FaultCode, type FaultOptions, faults, type Retry } from './fault.ts';
export { FollowedFiles, type FollowedFilesOptions } from './followed-files.ts';
export { HttpService, type HttpServiceOptions } from './http-service.ts';
export { jsonReason } from './json-reason.ts';
export { LineLogger, type Logger, type LogValue, silentLogger } from './log.ts';
export {
  describeOptions,
  loadOptions,
  type Option,
  type OptionSources,
  type Options,
  type OptionValues,
  optionTypes,
} from './options.ts';
export { below, type Random, SeededRandom, SystemRandom } from './random.ts';
export { readBody, readJsonBody } from './read-body.ts';
export { onreadOf, type Receiver, receiveInto } from './receiving-socket.ts';
export { Resource } from './resource.ts';
export { sameSecret, secretDigest } from './secret.ts';
export { Ending, listenFault, type RunOptions, runServices, type Service } from './service.ts';
