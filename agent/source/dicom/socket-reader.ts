/**
 * A socket's bytes for one reader at a time, without joining chunks: what is taken are views of what arrived.
 *
 * Nothing is read from the socket while more than `readAheadBytesMax` wait here, so a sender is slowed down to the
 * speed of our disk by TCP itself.
 */
import type { Socket } from 'node:net';
import { giveBack } from '../../base/memory.ts';
import type { Clock } from '../../model/ports.ts';

/** Enough to keep the socket busy while a frame is being written; beside it an association holds one sealed frame. */
export const readAheadBytesMax = 1024 * 1024;

export class SocketReader {
  readonly #socket: Socket;
  readonly #clock: Clock;
  readonly #chunks: Buffer[] = [];
  /** Of the first chunk. */
  #takenBytes = 0;
  #bufferedBytes = 0;
  #waiting: PromiseWithResolvers<void> | undefined;
  #waitingSince = 0;
  #lastByteAt: number;
  #fault: Error | undefined;
  #isDiscarding = false;
  /** Chunks taken to their end, whose views may still be in use. */
  #spent: Buffer[] = [];
  /** The most that ever waited here. */
  peakBytes = 0;

  constructor(socket: Socket, clock: Clock) {
    this.#socket = socket;
    this.#clock = clock;
    this.#lastByteAt = clock.monotonic();
    socket.on('data', (chunk: Buffer) => this.#arrived(chunk));
  }

  /** Milliseconds the peer has kept a reader waiting; 0 while nobody waits for it. */
  starvingMs(): number {
    return this.#waiting ? this.#clock.monotonic() - Math.max(this.#lastByteAt, this.#waitingSince) : 0;
  }

  /** Exactly `byteCount` bytes. @throws what `fail` was given */
  async exact(byteCount: number): Promise<Buffer> {
    while (this.#bufferedBytes < byteCount) await this.#more();
    const first = this.#take(byteCount);
    if (first.length === byteCount) return first;
    const whole = Buffer.allocUnsafe(byteCount);
    let filled = first.copy(whole);
    while (filled < byteCount) filled += this.#take(byteCount - filled).copy(whole, filled);
    return whole;
  }

  /** At least one byte and at most `byteCountMax`, a view of one chunk. @throws what `fail` was given */
  async some(byteCountMax: number): Promise<Buffer> {
    while (this.#bufferedBytes === 0) await this.#more();
    return this.#take(byteCountMax);
  }

  /** Whatever was taken before is used no more, and its memory may be given back. Of what is not released, nothing is. */
  release(): void {
    for (const chunk of this.#spent) giveBack(chunk);
    this.#spent = [];
  }

  /** Nothing more will come: readers that wait, or ask for more than is here, get this error. The first one counts. */
  fail(fault: Error): void {
    this.#fault ??= fault;
    this.#waiting?.resolve();
  }

  /** Throws away all that comes from now on: a socket closed on unread bytes would reset and lose our last answer. */
  discard(): void {
    this.#chunks.length = 0;
    this.#takenBytes = 0;
    this.#bufferedBytes = 0;
    this.#isDiscarding = true;
    this.#socket.resume();
  }

  #arrived(chunk: Buffer): void {
    if (this.#isDiscarding) return;
    this.#chunks.push(chunk);
    this.#bufferedBytes += chunk.length;
    this.peakBytes = Math.max(this.peakBytes, this.#bufferedBytes);
    this.#lastByteAt = this.#clock.monotonic();
    if (this.#bufferedBytes > readAheadBytesMax) this.#socket.pause();
    this.#waiting?.resolve();
  }

  async #more(): Promise<void> {
    if (this.#fault) throw this.#fault;
    this.#waiting = Promise.withResolvers();
    this.#waitingSince = this.#clock.monotonic();
    this.#socket.resume();
    await this.#waiting.promise;
    this.#waiting = undefined;
  }

  #take(byteCountMax: number): Buffer {
    const chunk = this.#chunks[0];
    if (!chunk) return Buffer.alloc(0);
    const taken = chunk.subarray(this.#takenBytes, this.#takenBytes + byteCountMax);
    this.#takenBytes += taken.length;
    if (this.#takenBytes === chunk.length) {
      this.#spent.push(chunk);
      this.#chunks.shift();
      this.#takenBytes = 0;
    }
    this.#bufferedBytes -= taken.length;
    if (this.#socket.isPaused() && this.#bufferedBytes <= readAheadBytesMax / 2) this.#socket.resume();
    return taken;
  }
}
