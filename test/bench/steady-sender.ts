import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { systemClock } from '../../agent/base/clock.ts';
import { ControlIds, idPlace } from './mllp-load.ts';

/** Sends one message after another on one connection and notes how long each waited for its answer. */
export class SteadySender {
  readonly #socket: Socket;
  readonly #message: Buffer;
  readonly #ids = new ControlIds();
  readonly #closed = new AbortController();

  private constructor(socket: Socket, message: Buffer) {
    this.#socket = socket;
    this.#message = message;
    socket.once('close', () => this.#closed.abort(new Error('the receiver closed the connection')));
  }

  static async connect(port: number, message: Buffer): Promise<SteadySender> {
    const socket = connect({ port, host: '127.0.0.1', noDelay: true });
    await once(socket, 'connect');
    return new SteadySender(socket, message);
  }

  /** Milliseconds from the first byte of a message to the end of its answer. @throws when it is not AA, or none comes */
  async send(): Promise<number> {
    const message = Buffer.from(this.#message);
    message.write(this.#ids.next(), message.indexOf(idPlace), 'latin1');
    const startedAt = performance.now();
    this.#socket.write(message);
    let answer = '';
    while (!answer.includes('\x1c')) {
      const [chunk] = (await once(this.#socket, 'data', { signal: this.#closed.signal })) as [Buffer];
      answer += chunk.toString('latin1');
    }
    if (!answer.includes('MSA|AA|')) throw new Error('a message was refused');
    return performance.now() - startedAt;
  }

  /** One message each `everyMs`, or as soon as the one before was answered, until `signal` aborts. */
  async keepSending(everyMs: number, signal: AbortSignal): Promise<number[]> {
    const waits: number[] = [];
    while (!signal.aborted) {
      waits.push(await this.send());
      await systemClock.sleep(everyMs, signal);
    }
    return waits;
  }

  close(): void {
    this.#socket.destroy();
  }
}
