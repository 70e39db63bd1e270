import { connect, type Socket } from 'node:net';
import { below, type Random } from '@tsukimi/base';
import { eventually } from '@tsukimi/base/testing';

/** Sockets of clients that mean harm, or are broken; `dispose` closes all. */
export class HostileClients implements Disposable {
  readonly #sockets = new Set<Socket>();

  /** Connects and sends `bytes`; the server may cut the connection whenever it likes. */
  send(port: number, bytes: Buffer): Socket {
    const socket = connect(port, '127.0.0.1');
    this.#sockets.add(socket);
    socket.on('error', () => {});
    socket.once('close', () => this.#sockets.delete(socket));
    socket.resume();
    if (bytes.length > 0) socket.write(bytes);
    return socket;
  }

  /** Those that the server has not cut. */
  get openCount(): number {
    return this.#sockets.size;
  }

  /** Opens connections that say nothing; resolves when each is accepted, or turned away: see `openCount`. */
  async idle(port: number, count: number): Promise<void> {
    const sockets = Array.from({ length: count }, () => this.send(port, Buffer.alloc(0)));
    await eventually(
      () => sockets.every((socket) => !socket.connecting),
      `${count} connections to ${port}`,
    );
  }

  /** Sends the start of something, then a byte now and then; resolves with what the server said when it has had enough. */
  slowly(port: number, start: Buffer, byte: number): Promise<string> {
    const socket = this.send(port, start);
    let answer = '';
    socket.on('data', (bytes: Buffer) => (answer += bytes.toString('latin1')));
    const drip = setInterval(() => socket.write(Buffer.from([byte])), 1_000);
    return new Promise((resolve) => {
      socket.once('close', () => {
        clearInterval(drip);
        resolve(answer);
      });
    });
  }

  [Symbol.dispose](): void {
    for (const socket of this.#sockets) socket.destroy();
  }
}

export const halfHead = Buffer.from('POST /v1/completions HTTP/1.1\r\nhost: a\r\nx-slow: ');
/** coro_rpc's magic and the first bytes of a head; also half a length for the other ports. */
export const halfFrame = Buffer.from([21, 0, 0, 0, 1]);

export function garbage(random: Random, byteCount: number): Buffer {
  return Buffer.from(Array.from({ length: byteCount }, () => below(random, 256)));
}

/** Each announces more than anybody may send: in HTTP's body and head, coro_rpc, and the transfer engine. */
export function oversized(): Buffer[] {
  const rpcRequest = Buffer.alloc(20);
  rpcRequest.writeUInt8(21, 0);
  rpcRequest.writeUInt32LE(0x7fff_ffff, 12);
  rpcRequest.writeUInt32LE(0xffff_ffff, 16);
  const transfer = (opcode: number) => {
    const request = Buffer.alloc(24);
    request.writeBigUInt64LE(2n ** 62n, 0);
    request.writeBigUInt64LE(2n ** 46n, 8);
    request.writeUInt8(opcode, 16);
    return request;
  };
  const httpHead = (lines: string[]) =>
    Buffer.from(
      ['POST /v1/completions HTTP/1.1', 'host: a', 'content-type: application/json', ...lines].join(
        '\r\n',
      ),
    );
  return [
    rpcRequest,
    ...[0, 1, 0x80, 0x81].map(transfer),
    Buffer.concat([
      httpHead([`content-length: ${10 ** 12}`, '', '']),
      Buffer.alloc(2 ** 20, '{"prompt":"'),
    ]),
    Buffer.from(
      `PUT /metadata?key=a HTTP/1.1\r\nhost: a\r\ncontent-length: ${2 ** 31}\r\n\r\n${'['.repeat(2 ** 18)}`,
    ),
    httpHead([`x-long: ${'a'.repeat(2 ** 20)}`]),
  ];
}
